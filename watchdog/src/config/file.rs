//! The whole file: its keys, their defaults, and how it is read.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::guard::GuardSection;
use super::nodes::NodeSection;
use super::period;
use super::replaced::{self, ReplacedKey};
use watchdog_core::files;
use watchdog_core::memory::MemorySource;
use watchdog_core::verify::BaselineKey;

/// The configuration file without `--config`.
pub const DEFAULT_PATH: &str = "/etc/watchdog/watchdog.toml";

/// The largest file that is read as a configuration: 1 MiB.
const LARGEST: u64 = 1 << 20;

/// The configuration. Every key is optional, and a flag of the command line overrides it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// As `--memory`.
    pub memory: MemorySource,
    /// As `--period`.
    #[serde(deserialize_with = "period::deserialize")]
    pub period: Duration,
    /// How long a node may boot before it counts as lost.
    #[serde(deserialize_with = "period::deserialize")]
    pub booting: Duration,
    /// As `--state-dir`: the folder of the baselines.
    pub state_dir: PathBuf,
    /// The key that must have signed the baselines: a minisign public key, or the path of its file.
    pub baseline_key: Option<BaselineKey>,
    /// The guard.
    pub guard: GuardSection,
    /// The nodes. Without any, they are discovered.
    #[serde(rename = "node")]
    pub nodes: Vec<NodeSection>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: MemorySource::default(),
            period: Duration::from_secs(1),
            // Under emulation, booting takes half a minute.
            booting: Duration::from_secs(120),
            state_dir: "/var/lib/watchdog".into(),
            baseline_key: None,
            guard: GuardSection::default(),
            nodes: Vec::new(),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        error: io::Error,
    },
    /// The file is not a configuration.
    #[error("the configuration {path} is invalid: {error}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The error, with its line.
        error: Box<toml::de::Error>,
    },
    /// The file has a key that another key has replaced.
    #[error("the configuration {path} is invalid: {key}")]
    Replaced {
        /// The file.
        path: PathBuf,
        /// The key, its line, and what to write.
        key: ReplacedKey,
    },
}

impl Config {
    /// Reads `path`, or without one the default file if it exists.
    ///
    /// # Errors
    /// [`ConfigError`]. A file that was named must exist.
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

    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| match replaced::find(text) {
            Some(key) => ConfigError::Replaced { path: path.to_owned(), key },
            None => ConfigError::Content { path: path.to_owned(), error: Box::new(error) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("watchdog.toml")).map_err(|error| error.to_string())
    }

    /// Check that a device, a folder and a huge file are refused at once, and that the error names
    /// them.
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

    /// Check that a replaced key is an error that says what to write.
    #[test]
    fn replaced_key() {
        let error = parse("[guard]\nsealed = true").unwrap_err();
        let expected = "watchdog.toml is invalid: line 2: the key `sealed` was replaced: write \
                        `disarm = \"never\"`";
        assert!(error.contains(expected), "{error}");
    }
}
