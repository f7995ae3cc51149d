//! Which nodes there are.

use super::NodeName;
use watchdog_core::memory::RangeSet;

/// Which nodes there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// The user said so.
    Configured(Vec<(NodeName, RangeSet)>),
    /// Every kernel in this memory is one, named `prefix-1`, `prefix-2`, … by text address.
    Discovered {
        /// `service` on a live machine, `image` in an image, `node-0` in this kernel's own RAM.
        prefix: &'static str,
        /// The memory to search.
        within: RangeSet,
    },
}

impl Nodes {
    /// All memory of all nodes. The watchdog reads it, and on a live machine guards it.
    #[must_use]
    pub fn memory(&self) -> RangeSet {
        match self {
            Self::Configured(nodes) => {
                nodes.iter().flat_map(|(_, ranges)| ranges.ranges()).copied().collect()
            }
            Self::Discovered { within, .. } => within.clone(),
        }
    }
}
