//! Tests that the documents and the example file have every key of the configuration, and no other.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::keys::{Key, keys};
use super::{Config, ConfigError};
use crate::doc_table::{codes, rows};
use watchdog_guard::{Policy, Release, WritePath, hash};

/// A node with only its required keys.
const NODE: &str = "[[node]]\nname = \"a\"\nmint.osid = 1\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("watchdog.toml"))
}

/// The path of a documented key: `[guard] disarm` is `guard.disarm`.
fn path(documented: &str) -> String {
    documented.replace(['[', ']'], "").replace(' ', ".")
}

/// Check that docs/configuration.md has each key, with its default.
#[test]
fn table_of_keys() {
    let document = include_str!("../../../docs/configuration.md");
    let mut rows: Vec<_> = rows(document, &["key", "default", "meaning"])
        .into_iter()
        .map(|row| (path(codes(row[0])[0]), row[1]))
        .collect();
    rows.sort_unstable();
    let mut keys = keys::<Config>();
    keys.sort_unstable();
    let paths = |(path, _): &(String, &str)| path.clone();
    assert_eq!(
        rows.iter().map(paths).collect::<Vec<_>>(),
        keys.iter().map(|key| key.path.clone()).collect::<Vec<_>>()
    );
    for ((_, default), key) in rows.into_iter().zip(&keys) {
        check_default(key, default);
    }
}

/// Checks one default: a value means the same as no key, and `none` belongs to an optional value.
/// Without a `required` key the configuration cannot be read.
fn check_default(key: &Key, default: &str) {
    let name = &key.path;
    let (base, line) = match name.strip_prefix("node.") {
        Some(key) => (NODE, key),
        None => ("", name.as_str()),
    };
    match default {
        "none" => assert!(key.is_option, "{name} has a default"),
        "required" => {
            let lines = base.lines().filter(|it| !it.starts_with(&format!("{line} =")));
            let error = parse(&lines.collect::<Vec<_>>().join("\n")).unwrap_err().to_string();
            assert!(error.contains(&format!("missing field `{line}`")), "{name}: {error}");
        }
        value => {
            let [value] = codes(value)[..] else { panic!("{name}: the default is {value}") };
            let configured = parse(&format!("{base}{line} = {value}")).unwrap();
            assert_eq!(configured, parse(base).unwrap(), "{name} = {value}");
            assert!(!key.is_option, "{name} has no default");
        }
    }
}

/// Check that docs/guard.md has each value of `disarm`.
#[test]
fn table_of_disarm() {
    let document = include_str!("../../../docs/guard.md");
    let hash = hash(b"open sesame").unwrap();
    let columns = ["under `[guard]`", "the guard can be taken down by"];
    let documented = rows(document, &columns).into_iter().map(|row| {
        let line = codes(row[0])[0].replace("$argon2id$…", &hash);
        parse(&format!("[guard]\n{line}")).unwrap().guard.release.to_string()
    });
    let all = [Release::Root, Release::Console, Release::Secret(hash.clone()), Release::Sealed];
    assert_eq!(
        documented.collect::<BTreeSet<_>>(),
        all.iter().map(ToString::to_string).collect::<BTreeSet<_>>()
    );
}

/// Check that the example as it is changes nothing, and that it has every key when its comment
/// signs are removed.
#[test]
fn example_file() {
    let example = include_str!("../../../dist/watchdog.toml");
    assert_eq!(parse(example).unwrap(), Config::default());
    let uncommented: String = example
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n")
        .collect();
    let config = parse(&uncommented).unwrap();
    assert_eq!(config.period, Duration::from_secs(1));
    assert_eq!(config.guard.policies.get(WritePath::Ioremap), Policy::Off);
    assert_eq!(config.nodes.len(), 2);
    assert_eq!(config.nodes[1].ranges.ranges().len(), 3);
    let images: Vec<_> = config.nodes.iter().map(|node| node.image.as_deref()).collect();
    assert_eq!(images, [Some(Path::new("/srv/nodes/service-1/vmlinuz")), None]);
    let written = toml::Value::Table(uncommented.parse().unwrap());
    for Key { path, .. } in keys::<Config>() {
        assert!(has(&written, &path), "the example does not have {path}");
    }
}

/// Whether a value, or any value of a list, has a key.
fn has(value: &toml::Value, path: &str) -> bool {
    if let Some(list) = value.as_array() {
        return list.iter().any(|value| has(value, path));
    }
    match path.split_once('.') {
        Some((section, below)) => value.get(section).is_some_and(|value| has(value, below)),
        None => value.get(path).is_some(),
    }
}
