//! The configuration file, `/etc/watchdog/watchdog.toml`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::node::{NodeName, disjoint, mint_ranges};
use watchdog_core::files;
use watchdog_core::memory::{MemorySource, PhysRange, RangeSet};
use watchdog_core::verify::BaselineKey;
use watchdog_guard::{Policies, Policy, Preset, Processors, Release, WritePath, check_hash};

/// Where the configuration is looked for when no `--config` is given.
pub const DEFAULT_PATH: &str = "/etc/watchdog/watchdog.toml";

/// The largest file that is read as a configuration: 1 MiB.
const LARGEST: u64 = 1 << 20;

/// The configuration; everything is optional and a flag of the command line overrides it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// As `--memory`.
    pub memory: Option<MemorySource>,
    /// As `--period`.
    #[serde(default, deserialize_with = "period")]
    pub period: Option<Duration>,
    /// How long a node may boot before it counts as lost.
    #[serde(default, deserialize_with = "period")]
    pub booting: Option<Duration>,
    /// As `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// Whose signature baselines must carry: a minisign public key, or the file that holds one.
    pub baseline_key: Option<BaselineKey>,
    /// The guard.
    #[serde(default)]
    pub guard: GuardSection,
    /// The nodes; without any they are discovered.
    #[serde(default, rename = "node")]
    pub nodes: Vec<NodeSection>,
}

/// `[guard]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawGuard")]
pub struct GuardSection {
    /// What is done about each path.
    pub policies: Policies,
    /// Who may take it down.
    pub release: Release,
    /// What may be written by `/dev/mem` all the same.
    pub dev_mem_writable: RangeSet,
    /// Processors that may be started beside those that run when the guard is armed.
    pub processors: Processors,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGuard {
    #[serde(default)]
    preset: Preset,
    #[serde(default)]
    paths: BTreeMap<WritePath, Policy>,
    disarm: Option<Disarm>,
    disarm_secret: Option<String>,
    #[serde(default)]
    sealed: bool,
    #[serde(default)]
    dev_mem_writable: Vec<String>,
    #[serde(default)]
    processors: Processors,
}

/// Who may take the guard down without a secret.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Disarm {
    Root,
    Console,
}

impl TryFrom<RawGuard> for GuardSection {
    type Error = String;

    fn try_from(raw: RawGuard) -> Result<Self, String> {
        let mut policies = Policies::of(raw.preset);
        raw.paths.into_iter().try_for_each(|(path, policy)| policies.set(path, policy))?;
        let release = match (raw.disarm, raw.disarm_secret, raw.sealed) {
            (None | Some(Disarm::Console), None, false) => Release::Console,
            (Some(Disarm::Root), None, false) => Release::Root,
            (None, Some(hash), false) => {
                check_hash(&hash)?;
                Release::Secret(hash)
            }
            (None, None, true) => Release::Sealed,
            _ => {
                return Err(
                    "give only one of `disarm`, `disarm_secret` and `sealed = true`: each says \
                     who may take the guard down"
                        .to_owned(),
                );
            }
        };
        let writable = raw.dev_mem_writable.iter().map(|range| PhysRange::from_str(range));
        let dev_mem_writable =
            disjoint(writable).map_err(|error| format!("`dev_mem_writable`: {error}"))?;
        Ok(Self { policies, release, dev_mem_writable, processors: raw.processors })
    }
}

/// `[[node]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawNode")]
pub struct NodeSection {
    /// The node's name.
    pub name: NodeName,
    /// Its physical memory.
    pub ranges: RangeSet,
    /// The vendor's image that its kernel boots from, as `--image NAME=FILE`.
    pub image: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: NodeName,
    #[serde(default)]
    ranges: Vec<String>,
    mint: Option<Mint>,
    image: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mint {
    osid: u64,
}

impl TryFrom<RawNode> for NodeSection {
    type Error = String;

    fn try_from(raw: RawNode) -> Result<Self, String> {
        let ranges = match (raw.mint, raw.ranges.as_slice()) {
            (Some(_), [_, ..]) => {
                return Err(format!(
                    "node `{}` has both `ranges` and `mint`: give only one",
                    raw.name
                ));
            }
            (Some(Mint { osid }), []) => mint_ranges(osid)
                .ok_or_else(|| format!("`osid = {osid}` is not a service OS of Mint"))?,
            (None, []) => {
                return Err(format!(
                    "node `{}` has no memory: give `ranges = [\"START..END\"]` or `mint = \
                     {{ osid = N }}`",
                    raw.name
                ));
            }
            (None, ranges) => disjoint(ranges.iter().map(|range| PhysRange::from_str(range)))
                .map_err(|error| error.to_string())?,
        };
        if raw.image.as_ref().is_some_and(|image| image.as_os_str().is_empty()) {
            return Err(format!(
                "node `{}` has an `image` without a name: give a file, as in `image = \
                 \"/boot/vmlinuz-6.12\"`, or remove the line",
                raw.name
            ));
        }
        Ok(Self { name: raw.name, ranges, image: raw.image })
    }
}

fn period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parse_period(&String::deserialize(deserializer)?).map(Some).map_err(serde::de::Error::custom)
}

/// Parses the time between two sweeps: `500ms`, `1s`, `2m`.
///
/// # Errors
/// A sentence when it is no duration or not between 100 ms and one day.
pub fn parse_period(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|period| Duration::try_from(period).ok())
        .filter(|period| (Duration::from_millis(100)..=Duration::from_hours(24)).contains(period))
        .ok_or_else(|| {
            format!(
                "invalid period `{text}`: write a time from 100ms to 24h, as in 500ms, 1s or 2m"
            )
        })
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// The file says something that no configuration may say.
    #[error("the configuration {path} is invalid: {error}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What, and in which line.
        error: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads `path`; without one the default file, where it exists.
    ///
    /// # Errors
    /// [`ConfigError`]: a file that was named must exist.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let named = path.is_some();
        let path = path.unwrap_or(Path::new(DEFAULT_PATH));
        let text = match files::read_text(path, LARGEST) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {
                return Ok(Self::default());
            }
            Err(error) => return Err(ConfigError::Read { path: path.to_owned(), error }),
        };
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text)
            .map_err(|error| ConfigError::Content { path: path.to_owned(), error: Box::new(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("watchdog.toml")).map_err(|error| error.to_string())
    }

    /// Check that every key of the example configuration is understood.
    #[test]
    fn example_file() {
        let example = include_str!("../../dist/watchdog.toml");
        let uncommented: String = example
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n")
            .collect();
        assert_eq!(parse(example).unwrap(), Config::default());
        let config = parse(&uncommented).unwrap();
        assert_eq!(config.period, Some(Duration::from_secs(1)));
        assert_eq!(config.guard.policies.get(WritePath::Ioremap), Policy::Off);
        assert_eq!(config.nodes.len(), 2);
        assert_eq!(config.nodes[1].ranges.ranges().len(), 3);
        let images: Vec<_> = config.nodes.iter().map(|node| node.image.as_deref()).collect();
        assert_eq!(images, [Some(Path::new("/srv/nodes/service-1/vmlinuz")), None]);
    }

    /// Check that what is no file, or a huge one, is refused at once with its name.
    #[test]
    fn not_a_file() {
        let huge = tempfile::NamedTempFile::new().unwrap();
        huge.as_file().set_len(LARGEST + 1).unwrap();
        for (path, why) in [
            (Path::new("/dev/zero"), "not a regular file"),
            (Path::new("/"), "not a regular file"),
            (huge.path(), "larger than"),
        ] {
            let error = Config::load(Some(path)).unwrap_err();
            let said = watchdog_core::text::chain(&error);
            assert!(said.contains(why) && said.contains(&path.display().to_string()), "{said}");
        }
    }

    /// Check that a wrong key is an error that names the key and its line.
    #[test]
    fn unknown_key() {
        for text in ["perod = \"1s\"", "\n[guard]\npresets = \"strict\"", "[[node]]\nnme = \"a\""] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("unknown field"), "{error}");
            let line = text.lines().position(|line| line.contains(" = ")).unwrap() + 1;
            assert!(error.contains(&format!("line {line}")), "{error}");
        }
    }

    /// Check that a preset is the base and single paths are set on it, and that what the guard
    /// cannot do is refused with what it can.
    #[test]
    fn policies() {
        let config =
            parse("[guard]\npreset = \"strict\"\n[guard.paths]\nmmap = \"observe\"").unwrap();
        assert_eq!(config.guard.policies.get(WritePath::Mmap), Policy::Observe);
        assert_eq!(config.guard.policies.get(WritePath::Module), Policy::Deny);
        for (text, expected) in [
            ("[guard]\npreset = \"lax\"", "unknown variant `lax`"),
            ("[guard.paths]\nmmpa = \"deny\"", "unknown path `mmpa`"),
            ("[guard.paths]\nmmap = \"forbid\"", "unknown variant `forbid`"),
            ("[guard.paths]\nioremap = \"deny\"", "write `off` or `observe`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// Check that nodes that cannot be are refused with a sentence.
    #[test]
    fn wrong_nodes() {
        let node = |name: &str, rest: &str| format!("[[node]]\nname = \"{name}\"\n{rest}\n");
        let ranges = "ranges = [\"0x1000..0x2000\"]";
        for (text, expected) in [
            (node("a", ""), "has no memory"),
            (node("a", "mint = { osid = 0 }"), "not a service OS of Mint"),
            (node("a", &format!("{ranges}\nmint = {{ osid = 1 }}")), "give only one"),
            (node("a/b", ranges), "invalid node name"),
            (node("a", "ranges = [\"0x1000\"]"), "invalid range"),
            (node("a", &format!("{ranges}\nimage = \"\"")), "`image` without a name"),
            (node("a", &format!("{ranges}\nimage = 1")), "invalid type"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// Check that periods outside what a sweep can do are refused.
    #[test]
    fn periods() {
        assert_eq!(parse_period("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_period("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "1", "0s", "-1s", "99ms", "25h", "1 parsec"] {
            assert!(parse_period(wrong).is_err(), "{wrong}");
        }
    }
}
