//! `[guard]`.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::node::disjoint;
use watchdog_core::memory::{PhysRange, RangeSet};
use watchdog_guard::{Policies, Policy, Preset, Processors, Release, WritePath};

/// `[guard]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawGuard")]
pub struct GuardSection {
    /// What the guard does about each path.
    pub policies: Policies,
    /// Who may take the guard down.
    pub release: Release,
    /// Ranges of `/dev/mem` that stay writable.
    pub dev_mem_writable: RangeSet,
    /// Processors that may be started besides those that run when the guard is armed.
    pub processors: Processors,
}

/// The section as its keys are written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawGuard {
    preset: Preset,
    paths: BTreeMap<WritePath, Policy>,
    #[serde(deserialize_with = "release")]
    disarm: Release,
    dev_mem_writable: Vec<String>,
    processors: Processors,
}

fn release<'de, D: Deserializer<'de>>(from: D) -> Result<Release, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

impl TryFrom<RawGuard> for GuardSection {
    type Error = String;

    fn try_from(raw: RawGuard) -> Result<Self, String> {
        let mut policies = Policies::of(raw.preset);
        raw.paths.into_iter().try_for_each(|(path, policy)| policies.set(path, policy))?;
        let writable = raw.dev_mem_writable.iter().map(|range| PhysRange::from_str(range));
        let dev_mem_writable =
            disjoint(writable).map_err(|error| format!("`dev_mem_writable`: {error}"))?;
        Ok(Self { policies, release: raw.disarm, dev_mem_writable, processors: raw.processors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<GuardSection, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Check that a preset is the base and single paths are set on it, and that what the guard
    /// cannot do is refused with what it can.
    #[test]
    fn policies() {
        let guard = parse("preset = \"strict\"\n[paths]\nmmap = \"observe\"").unwrap();
        assert_eq!(guard.policies.get(WritePath::Mmap), Policy::Observe);
        assert_eq!(guard.policies.get(WritePath::Module), Policy::Deny);
        for (text, expected) in [
            ("preset = \"lax\"", "unknown variant `lax`"),
            ("[paths]\nmmpa = \"deny\"", "unknown path `mmpa`"),
            ("[paths]\nmmap = \"forbid\"", "unknown variant `forbid`"),
            ("[paths]\nioremap = \"deny\"", "write `off` or `observe`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// Check that one key says who may disarm, and that the error for another word names the line
    /// and the words.
    #[test]
    fn disarm() {
        for (text, expected) in [
            ("", Release::Console),
            ("disarm = \"console\"", Release::Console),
            ("disarm = \"root\"", Release::Root),
            ("disarm = \"never\"", Release::Sealed),
        ] {
            assert_eq!(parse(text).unwrap().release, expected, "{text}");
        }
        let error = parse("preset = \"strict\"\ndisarm = \"nobody\"").unwrap_err();
        assert!(error.contains("line 2") && error.contains("`never`"), "{error}");
    }
}
