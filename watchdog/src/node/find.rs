//! From memory to nodes: which kernel runs in which node's memory.

use crate::locate::{Finding, Lost, locate};
use crate::memory::{Memory, PhysAddr, RangeSet, ReadError};

use super::{NodeName, Nodes};

/// A node and the memory in which its kernel is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its memory, or where several nodes share one discovered range, all of that.
    pub memory: RangeSet,
}

/// What was found for a node.
#[derive(Clone, Debug)]
pub struct Found {
    /// The node.
    pub node: Node,
    /// Its kernel, or why there is none.
    pub finding: Finding,
}

impl Nodes {
    /// Looks for the kernel of every node. `progress` hears of bytes searched and bytes in all.
    ///
    /// A configured node is always in the answer, lost if it holds no kernel or several;
    /// discovered nodes are those that showed any sign of a kernel.
    ///
    /// # Errors
    /// When memory cannot be read.
    pub fn find(
        &self,
        memory: &dyn Memory,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Found>, ReadError> {
        match self {
            Self::Configured(nodes) => {
                let total = self.memory().size();
                let mut before = 0;
                let mut found = Vec::new();
                for (name, ranges) in nodes {
                    let findings =
                        locate(memory, ranges, &mut |done, _| progress(before + done, total))?;
                    before += ranges.size();
                    let node = Node { name: name.clone(), memory: ranges.clone() };
                    found.push(Found { node, finding: the_one(findings, ranges) });
                }
                Ok(found)
            }
            Self::Discovered { prefix, within } => {
                let mut findings = locate(memory, within, progress)?;
                findings.sort_by_key(place);
                let alone = *prefix == IMAGE && findings.len() == 1;
                let name = |n| {
                    if alone { NodeName::alone(prefix) } else { NodeName::numbered(prefix, n + 1) }
                };
                let node = |n| Node { name: name(n), memory: within.clone() };
                let found = findings.into_iter().enumerate();
                Ok(found.map(|(n, finding)| Found { node: node(n), finding }).collect())
            }
        }
    }
}

/// The prefix of nodes found in an image; a single one is called just that.
pub(super) const IMAGE: &str = "image";

/// The order in which discovered nodes are numbered: by text address, what has none last.
fn place(finding: &Finding) -> PhysAddr {
    finding.text_address().unwrap_or(PhysAddr(u64::MAX))
}

/// The finding of a node that must hold exactly one kernel.
fn the_one(mut findings: Vec<Finding>, ranges: &RangeSet) -> Finding {
    match (findings.pop(), findings.len()) {
        (Some(finding), 0) => finding,
        (None, _) => Finding::Lost(Lost::because(format!(
            "no kernel was found in {ranges}: check the range, and that the node is running"
        ))),
        (Some(_), others) => Finding::Lost(Lost::because(format!(
            "{} kernels were found in {ranges}: give each node its own range",
            others + 1
        ))),
    }
}
