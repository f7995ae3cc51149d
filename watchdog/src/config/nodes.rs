//! `[[node]]`.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::allow::AllowedCause;
use crate::node::{NodeName, disjoint, mint_ranges};
use watchdog_core::memory::{PhysRange, RangeSet};

/// `[[node]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawNode")]
pub struct NodeSection {
    /// The node's name.
    pub name: NodeName,
    /// Its physical memory.
    pub ranges: RangeSet,
    /// The vendor's image of its kernel, as `--image NAME=FILE`.
    pub image: Option<PathBuf>,
    /// Causes of instrumented text that are expected on it.
    pub allow: Vec<AllowedCause>,
}

/// The section as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: NodeName,
    #[serde(default)]
    ranges: Vec<String>,
    mint: Option<Mint>,
    image: Option<PathBuf>,
    #[serde(default)]
    allow: Vec<AllowedCause>,
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
            (Some(Mint { osid }), []) => mint_ranges(osid).ok_or_else(|| {
                format!("`osid = {osid}` is not a service OS of Mint: give an osid from 1 to 9")
            })?,
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
                "node `{}` has an empty `image`: give a file, as in `image = \
                 \"/boot/vmlinuz-6.12\"`, or remove the line",
                raw.name
            ));
        }
        Ok(Self { name: raw.name, ranges, image: raw.image, allow: raw.allow })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that impossible nodes are refused, each with its error.
    #[test]
    fn wrong_nodes() {
        let node = |name: &str, rest: &str| format!("name = \"{name}\"\n{rest}\n");
        let ranges = "ranges = [\"0x1000..0x2000\"]";
        for (text, expected) in [
            (node("a", ""), "has no memory"),
            (node("a", "mint = { osid = 0 }"), "not a service OS of Mint"),
            (node("a", &format!("{ranges}\nmint = {{ osid = 1 }}")), "give only one"),
            (node("a/b", ranges), "invalid node name"),
            (node("a", "ranges = [\"0x1000\"]"), "invalid range"),
            (node("a", &format!("{ranges}\nimage = \"\"")), "an empty `image`"),
            (node("a", &format!("{ranges}\nimage = 1")), "invalid type"),
            (node("a", &format!("{ranges}\nallow = [\"kvm\"]")), "MECHANISM:NAME"),
        ] {
            let error = toml::from_str::<NodeSection>(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
