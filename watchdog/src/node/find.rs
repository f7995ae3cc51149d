//! From memory to nodes: which kernel runs in which node's memory.

use super::choose::{the_one, those_alive};
use super::{Images, NodeName, Nodes};
use watchdog_core::locate::{Finding, locate};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet, ReadError};

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
    /// Other kernels, or parts of some, in its memory that do not live: left by a kexec, or
    /// planted. In memory that nodes share, those whose text is nearest to this one's.
    pub strays: Vec<Finding>,
}

/// Everything that was found in the memory of one node, or of all that share it.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The memory.
    pub memory: RangeSet,
    /// What is in it, undecided.
    pub findings: Vec<Finding>,
}

impl Nodes {
    /// Looks for the kernel of every node. `progress` hears of bytes searched and bytes in all.
    ///
    /// A configured node is always in the answer, lost if it holds no kernel or several that live;
    /// discovered nodes are those that showed any sign of a kernel.
    ///
    /// # Errors
    /// When memory cannot be read.
    pub fn find(
        &self,
        memory: &dyn Memory,
        images: &Images,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Found>, ReadError> {
        let surveys = self.survey(memory, images, false, progress)?;
        Ok(match self {
            Self::Configured(nodes) => {
                let found = nodes.iter().zip(surveys).map(|((name, ranges), survey)| {
                    let (finding, strays) = the_one(memory, survey.findings, ranges);
                    let node = Node { name: name.clone(), memory: ranges.clone() };
                    Found { node, finding, strays }
                });
                found.collect()
            }
            Self::Discovered { prefix, within } => {
                let findings = surveys.into_iter().flat_map(|survey| survey.findings).collect();
                let (mut nodes, strays) = those_alive(memory, findings);
                nodes.sort_by_key(place);
                let alone = [IMAGE, OWN].contains(prefix) && nodes.len() == 1;
                let name = |n| {
                    if alone { NodeName::alone(prefix) } else { NodeName::numbered(prefix, n + 1) }
                };
                let node = |n| Node { name: name(n), memory: within.clone() };
                let found = nodes.into_iter().enumerate();
                let mut found: Vec<_> = found
                    .map(|(n, finding)| Found { node: node(n), finding, strays: Vec::new() })
                    .collect();
                strays.into_iter().for_each(|stray| to_nearest(&mut found, stray));
                found
            }
        })
    }

    /// The name of one more discovered node, where there are `count`.
    #[must_use]
    pub fn name_of_next(&self, count: usize) -> NodeName {
        let prefix = match self {
            Self::Configured(_) => "node",
            Self::Discovered { prefix, .. } => prefix,
        };
        NodeName::numbered(prefix, count + 1)
    }

    /// Looks for everything that speaks of a kernel in one node's memory, and decides nothing.
    ///
    /// # Errors
    /// When memory cannot be read.
    pub fn look(
        &self,
        node: &Node,
        memory: &dyn Memory,
        images: &Images,
    ) -> Result<Vec<Finding>, ReadError> {
        let name = matches!(self, Self::Configured(_)).then_some(&node.name);
        locate(memory, &node.memory, &images.search(name, false), &mut |_, _| ())
    }

    /// Looks for everything that speaks of a kernel in the memory of every node, and decides
    /// nothing: one survey for each configured node, one for all discovered ones. A `gentle` one
    /// keeps to one thread, which `progress` may hold up.
    ///
    /// # Errors
    /// When memory cannot be read.
    pub fn survey(
        &self,
        memory: &dyn Memory,
        images: &Images,
        gentle: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Survey>, ReadError> {
        let places: Vec<(Option<&NodeName>, &RangeSet)> = match self {
            Self::Configured(nodes) => {
                nodes.iter().map(|(name, ranges)| (Some(name), ranges)).collect()
            }
            Self::Discovered { within, .. } => vec![(None, within)],
        };
        let total = self.memory().size();
        let mut before = 0;
        let mut surveys = Vec::new();
        for (name, ranges) in places {
            let search = images.search(name, gentle);
            let findings =
                locate(memory, ranges, &search, &mut |done, _| progress(before + done, total))?;
            before += ranges.size();
            surveys.push(Survey { memory: ranges.clone(), findings });
        }
        Ok(surveys)
    }
}

/// The prefix of nodes found in an image; a single one is called just that.
pub(super) const IMAGE: &str = "image";

/// The same for the kernel that this program runs on.
pub(super) const OWN: &str = "node-0";

/// The order in which discovered nodes are numbered: by text address, what has none last.
fn place(finding: &Finding) -> PhysAddr {
    finding.text_address().unwrap_or(PhysAddr(u64::MAX))
}

/// Gives a stray to the node whose text is nearest.
fn to_nearest(found: &mut [Found], stray: Finding) {
    let at = place(&stray).0;
    let nearest = found.iter_mut().min_by_key(|found| place(&found.finding).0.abs_diff(at));
    if let Some(nearest) = nearest {
        nearest.strays.push(stray);
    }
}
