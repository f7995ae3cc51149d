//! A node as the user describes it: a name with one or more ranges of physical memory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use watchdog_core::memory::{PhysAddr, PhysRange, RangeError, RangeSet};

/// A node's name: 1 to 64 of `A-Z a-z 0-9 - _ .`, not starting with `.` or `-`.
///
/// The set is narrow because the name becomes a file name and a journal field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NodeName {
    /// The name `prefix-number`. `prefix` is a constant of this program.
    pub(super) fn numbered(prefix: &'static str, number: usize) -> Self {
        Self(format!("{prefix}-{number}"))
    }

    /// The name of a single node: `prefix` without a number.
    pub(super) fn alone(prefix: &'static str) -> Self {
        Self(prefix.to_owned())
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NodeName {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let sound = (1..=64).contains(&text.len())
            && text.chars().all(allowed)
            && !text.starts_with(['.', '-']);
        if sound { Ok(Self(text.to_owned())) } else { Err(NodeError::Name(text.to_owned())) }
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text does not describe a node.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NodeError {
    /// The name is not valid.
    #[error(
        "invalid node name `{0}`: use 1 to 64 letters, digits, `-`, `_` or `.`, a letter or digit \
         first"
    )]
    Name(String),
    /// A range cannot be parsed.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// Two of its ranges overlap.
    #[error("the range {0} overlaps another range of the same node")]
    Overlap(PhysRange),
}

/// A node as the user describes it: `[NAME=]START..END[,START..END…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// The name, if one was given.
    pub name: Option<NodeName>,
    /// Its physical memory.
    pub ranges: RangeSet,
}

impl FromStr for NodeSpec {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        let (name, ranges) = match text.split_once('=') {
            Some((name, ranges)) => (Some(name.parse()?), ranges),
            None => (None, text),
        };
        Ok(Self { name, ranges: disjoint(ranges.split(',').map(PhysRange::from_str))? })
    }
}

/// A set of ranges that do not overlap.
///
/// # Errors
/// [`NodeError`] if a range cannot be parsed, or overlaps an earlier one.
pub fn disjoint(
    ranges: impl Iterator<Item = Result<PhysRange, RangeError>>,
) -> Result<RangeSet, NodeError> {
    let mut set = RangeSet::new();
    for range in ranges {
        let range = range?;
        if set.overlaps(&range) {
            return Err(NodeError::Overlap(range));
        }
        set.insert(range);
    }
    Ok(set)
}

/// The three ranges that Mint gives OS node `osid`: 1 to 9. With larger numbers, the 128 MiB areas
/// would overlap main areas of other nodes.
#[must_use]
pub fn mint_ranges(osid: u64) -> Option<RangeSet> {
    const AREAS: [(u64, u64); 3] =
        [(0, 0x20_0000), (0x800_0000, 0x800_0000), (0x2000_0000, 0x1800_0000)];
    let areas = AREAS.iter().map(|&(base, size)| {
        PhysRange::with_size(PhysAddr(base.checked_add(osid.checked_mul(size)?)?), size)
    });
    let ranges: Vec<PhysRange> = areas.collect::<Option<_>>()?;
    let set = disjoint(ranges.into_iter().map(Ok)).ok()?;
    (osid > 0).then_some(set)
}

/// The nodes of the command line. Nodes without a name are `node-1`, `node-2`, … by position.
#[must_use]
pub fn named(specs: &[NodeSpec]) -> Vec<(NodeName, RangeSet)> {
    let name = |n: usize, spec: &NodeSpec| {
        spec.name.clone().unwrap_or_else(|| NodeName::numbered("node", n + 1))
    };
    specs.iter().enumerate().map(|(n, spec)| (name(n, spec), spec.ranges.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a node parses with and without a name, and that each mistake has its error.
    #[test]
    fn parse() {
        let spec: NodeSpec = "web=0x1000..0x2000,0x8000..0x9000".parse().unwrap();
        assert_eq!(spec.name.unwrap().as_str(), "web");
        assert_eq!(spec.ranges.to_string(), "0x1000..0x2000,0x8000..0x9000");
        assert!("0x1000..0x2000".parse::<NodeSpec>().unwrap().name.is_none());
        assert!(matches!("../x=0..1".parse::<NodeSpec>(), Err(NodeError::Name(_))));
        assert!(matches!("a=0..1,".parse::<NodeSpec>(), Err(NodeError::Range(_))));
        assert!(matches!("a=0..9,8..10".parse::<NodeSpec>(), Err(NodeError::Overlap(_))));
    }

    /// Check Mint's layout of node 1 against its documentation, and that invalid numbers have no
    /// memory.
    #[test]
    fn mint() {
        assert_eq!(
            mint_ranges(1).unwrap().to_string(),
            "0x200000..0x400000,0x10000000..0x18000000,0x38000000..0x50000000"
        );
        assert!(mint_ranges(0).is_none());
        assert!(mint_ranges(u64::MAX).is_none());
    }
}
