//! Tests that the documents describe the paths as the code does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use watchdog_common::path;

use super::WritePath;
use super::guard_path::{Means, Target};
use crate::policy::{Policy, Preset};
use crate::programs::attach_order;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of a document's tables from one line to the next heading, as cells.
fn rows(text: &str, from: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| *line != from).skip(1);
    let lines = lines.by_ref().take_while(|line| !line.starts_with('#'));
    let rows = lines.filter(|line| line.starts_with("| `"));
    let cells = |row: &str| {
        let row = row.trim_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// The words in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The part of a text between two others, with all white space as one blank.
fn between(text: &str, start: &str, end: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rest = line.split_once(start).unwrap_or_else(|| panic!("there is no `{start}`")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("there is no `{end}`")).0.to_owned()
}

fn names(is_meant: impl Fn(WritePath) -> bool) -> BTreeSet<&'static str> {
    WritePath::ALL.into_iter().filter(|path| is_meant(*path)).map(WritePath::name).collect()
}

/// Check that the table in docs/guard.md has every path once, with the policies of the presets.
#[test]
fn table_of_paths() {
    let text = document("docs/guard.md");
    let mut listed = Vec::new();
    for row in rows(&text, "## Paths") {
        let [names, what, presets @ ..] = row.as_slice() else { panic!("{row:?}") };
        assert!(!what.is_empty() && presets.len() == 2, "{row:?}");
        for name in quoted(names) {
            let path: WritePath = name.parse().expect("a path");
            for (cell, preset) in presets.iter().zip([Preset::Standard, Preset::Strict]) {
                let policy = cell.split(' ').next().expect("a word");
                assert_eq!(policy, path.preset(preset).to_string(), "{path}, {preset:?}");
            }
            listed.push(path);
        }
    }
    listed.sort();
    assert_eq!(listed, WritePath::ALL);
}

/// Check that docs/guard.md names the paths that cannot have every policy.
#[test]
fn policies_that_a_path_can_have() {
    let text = document("docs/guard.md");
    for (start, end, means) in [
        ("the call fails as well. ", " can have `kill`", Means::Kill),
        ("can have `kill`, `observe` or `off`. ", " can have `observe`", Means::See),
    ] {
        let listed = between(&text, start, end);
        let listed: BTreeSet<_> = quoted(&listed).into_iter().collect();
        assert_eq!(listed, names(|path| path.facts().means == means));
    }
}

/// Check that docs/guard.md has the coverage of the preset `standard` as its example of a
/// self-test.
#[test]
fn example_of_a_self_test() {
    let list = |policy| -> Vec<&str> {
        let paths = WritePath::ALL.into_iter();
        let paths = paths.filter(|path| path.preset(Preset::Standard) == policy);
        paths.map(WritePath::name).collect()
    };
    let rows = WritePath::ALL.len() + path::WITHOUT_PROGRAM.len();
    let denied = list(Policy::Deny);
    let mut expected = format!("{} of {rows} paths denied ({})", denied.len(), denied.join(", "));
    let mut observed = list(Policy::Observe);
    observed.push("allocator");
    for (word, paths) in
        [("killed", list(Policy::Kill)), ("observed", observed), ("off", list(Policy::Off))]
    {
        expected += &format!(", {} {word} ({})", paths.len(), paths.join(", "));
    }
    let text = document("docs/guard.md");
    let example = between(&text, "The guard is armed: ", ", 2 uncovered (kernel, firmware)");
    assert_eq!(example, expected);
}

/// Check that docs/events.md names the paths on which every attempt is `guard-tampered`.
#[test]
fn paths_to_the_guard() {
    let text = document("docs/events.md");
    let listed = between(&text, "attempted something on the paths ", ".");
    let listed: BTreeSet<_> = quoted(&listed).into_iter().collect();
    assert_eq!(listed, names(|path| path.facts().target == Target::Guard));
}

/// Check that the table of programs in ARCHITECTURE.md has every path. Check that each row names
/// existing programs, with their paths.
#[test]
fn table_of_programs() {
    let text = document("ARCHITECTURE.md");
    let order = attach_order();
    let mut listed = BTreeSet::new();
    for row in rows(&text, "## The guard's programs") {
        let [programs, _, paths, _] = row.as_slice() else { panic!("{row:?}") };
        let mut expected = BTreeSet::new();
        for name in quoted(programs) {
            let is_meant = |it: &str| match name.strip_suffix('…') {
                Some(start) => it.starts_with(start),
                None => it == name,
            };
            let meant: Vec<_> = order.iter().filter(|it| is_meant(it.program.name)).collect();
            assert!(!meant.is_empty(), "there is no program {name}");
            expected.extend(meant.iter().flat_map(|it| &it.paths).map(|path| path.name()));
        }
        assert_eq!(quoted(paths).into_iter().collect::<BTreeSet<_>>(), expected, "{programs}");
        listed.extend(expected);
    }
    assert_eq!(listed, names(|_| true));
}

/// Check that each summary fits its column in `watchdog run --help`.
#[test]
fn summaries_fit() {
    for path in WritePath::ALL {
        assert!(path.summary().len() <= 39 && path.name().len() <= 18, "{path}");
    }
}
