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
    /// The requirement for disarming the guard.
    pub release: Release,
    /// Physical memory that may still be written through `/dev/mem`.
    pub dev_mem_writable: RangeSet,
    /// Processors that may be started, besides those that run when the guard is armed.
    pub processors: Processors,
}

/// The section as the file has it.
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

    /// Check that a preset is the base and that single paths override it. Check that an impossible
    /// policy is refused with the possible ones.
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

    /// Check each value of `disarm`. Check that the error for another value names the line and the
    /// possible values.
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
