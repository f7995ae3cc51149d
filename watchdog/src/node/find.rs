//! Finds the nodes in memory, and the kernel that each runs.

use super::choose::{describe, some_of, the_one, those_alive};
use super::{Images, NodeName, Nodes};
use watchdog_core::locate::{Finding, Lost, Stop, is_ram_of, locate};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet, ReadError};

/// A node and the memory that is searched for its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its memory. If discovered nodes share one range, this is the whole range.
    pub memory: RangeSet,
}

/// The result of the search for a node's kernel.
#[derive(Clone, Debug)]
pub struct Found {
    /// The node.
    pub node: Node,
    /// Its kernel, or why there is none.
    pub finding: Finding,
    /// Other kernels, or parts of kernels, in its memory that show no sign of life. A kexec left
    /// them, or an adversary planted them. Kernels of virtual machines are among them. In memory
    /// that nodes share, a stray belongs to the node with the nearest text.
    pub strays: Vec<Finding>,
}

/// All findings in the memory of one node, or of all nodes that share it.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The memory.
    pub memory: RangeSet,
    /// The findings in it. None is chosen or ruled out yet.
    pub findings: Vec<Finding>,
}

impl Nodes {
    /// Searches for the kernel of every node. `progress` gets the bytes searched so far and the
    /// total. `stop` ends the search.
    ///
    /// Every configured node is in the result. It is lost if it holds no kernel, or several that
    /// live. A discovered node is a finding with any sign of a kernel.
    ///
    /// # Errors
    /// When memory cannot be read, or the search was stopped.
    pub fn find(
        &self,
        memory: &dyn Memory,
        images: &Images,
        stop: &Stop,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Found>, ReadError> {
        let surveys = self.survey(memory, images, false, stop, progress)?;
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
                let (nodes, mut strays) = those_alive(memory, findings);
                let (nodes, guests) = apart_from_guests(memory, nodes);
                strays.extend(guests);
                discovered(nodes, strays, prefix, within)
            }
        })
    }

    /// The name of the next node if there are `count` nodes.
    #[must_use]
    pub fn name_of_next(&self, count: usize) -> NodeName {
        let prefix = match self {
            Self::Configured(_) => "node",
            Self::Discovered { prefix, .. } => prefix,
        };
        NodeName::numbered(prefix, count + 1)
    }

    /// Searches one node's memory for all signs of kernels, and chooses none.
    ///
    /// # Errors
    /// When memory cannot be read.
    pub fn survey_node(
        &self,
        node: &Node,
        memory: &dyn Memory,
        images: &Images,
    ) -> Result<Vec<Finding>, ReadError> {
        let name = matches!(self, Self::Configured(_)).then_some(&node.name);
        locate(memory, &node.memory, &images.search(name, false, &Stop::default()), &mut |_, _| ())
    }

    /// Searches the memory of every node for all signs of kernels, and chooses none. There is one
    /// survey for each configured node, or one for all discovered nodes. A `gentle` survey uses one
    /// thread, which `progress` may delay.
    ///
    /// # Errors
    /// When memory cannot be read.
    pub fn survey(
        &self,
        memory: &dyn Memory,
        images: &Images,
        gentle: bool,
        stop: &Stop,
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
            let search = images.search(name, gentle, stop);
            let findings =
                locate(memory, ranges, &search, &mut |done, _| progress(before + done, total))?;
            before += ranges.size();
            surveys.push(Survey { memory: ranges.clone(), findings });
        }
        Ok(surveys)
    }
}

/// Separates nodes from parts of kernels that live in the RAM of a located kernel: kernels of its
/// virtual machines. No page tables of the machine map such a kernel.
///
/// Only the kernel that owns the memory can say so. A kernel that wants to hide itself among the
/// guests of another node would have to change that node's page tables.
fn apart_from_guests(memory: &dyn Memory, nodes: Vec<Finding>) -> (Vec<Finding>, Vec<Finding>) {
    let hosts: Vec<_> = nodes
        .iter()
        .filter_map(|finding| match finding {
            Finding::Located(kernel) => Some(kernel.clone()),
            _ => None,
        })
        .collect();
    let is_guest = |finding: &Finding| {
        let Finding::Lost(Lost { text: Some(at), witnesses, .. }) = finding else { return false };
        witnesses.iter().all(|witness| witness.name != "page-tables")
            && hosts.iter().any(|host| is_ram_of(memory, host, at.page()))
    };
    nodes.into_iter().partition(|finding| !is_guest(finding))
}

/// The largest number of discovered nodes. Software on a node can fake any number of living kernels
/// in its memory.
pub const MOST_NODES: usize = 64;

/// Makes nodes of findings in the memory `within`, each with the strays nearest to it. If there are
/// too many, one more node, which is lost, stands for the rest.
fn discovered(
    nodes: Vec<Finding>,
    strays: Vec<Finding>,
    prefix: &'static str,
    within: &RangeSet,
) -> Vec<Found> {
    let alone = [IMAGE, OWN].contains(&prefix) && nodes.len() == 1;
    let name = |n| if alone { NodeName::alone(prefix) } else { NodeName::numbered(prefix, n + 1) };
    let node = |n| Node { name: name(n), memory: within.clone() };
    let (nodes, rest) = not_too_many(nodes);
    let (count, found) = (nodes.len(), nodes.into_iter().enumerate());
    let mut found: Vec<_> =
        found.map(|(n, finding)| Found { node: node(n), finding, strays: Vec::new() }).collect();
    strays.into_iter().for_each(|stray| to_nearest(&mut found, stray));
    if !rest.is_empty() {
        let reason = format!(
            "{} more kernels, or parts of kernels, were found in {} besides the first {count}: \
             give each node its own range. Found: {}",
            rest.len(),
            within.in_brief(),
            some_of(rest.iter().map(describe))
        );
        let finding = Finding::Lost(Lost::because(reason));
        found.push(Found { node: node(count), finding, strays: Vec::new() });
    }
    found
}

/// At most [`MOST_NODES`] findings in the order of their numbers, and the rest. Located kernels
/// take precedence over booting kernels, and those over lost ones.
fn not_too_many(mut findings: Vec<Finding>) -> (Vec<Finding>, Vec<Finding>) {
    let rank = |finding: &Finding| match finding {
        Finding::Located(_) => 0,
        Finding::Booting(_) => 1,
        Finding::Lost(_) => 2,
    };
    findings.sort_by_key(|finding| (rank(finding), place(finding)));
    let rest = findings.split_off(findings.len().min(MOST_NODES));
    findings.sort_by_key(place);
    (findings, rest)
}

/// The prefix of nodes found in an image. A single node has this name without a number.
pub(super) const IMAGE: &str = "image";

/// The same for the kernel that this program runs on.
pub(super) const OWN: &str = "node-0";

/// The key by which discovered nodes are numbered: the text address. Findings without one come
/// last.
fn place(finding: &Finding) -> PhysAddr {
    finding.text_address().unwrap_or(PhysAddr(u64::MAX))
}

/// Adds a stray to the node with the nearest text.
fn to_nearest(found: &mut [Found], stray: Finding) {
    let at = place(&stray).0;
    let nearest = found.iter_mut().min_by_key(|found| place(&found.finding).0.abs_diff(at));
    if let Some(nearest) = nearest {
        nearest.strays.push(stray);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(at: u64) -> Lost {
        Lost { text: Some(PhysAddr(at)), ..Lost::because("made up".to_owned()) }
    }

    /// Check that a thousand decoys do not become a thousand nodes. Check that lost findings do not
    /// displace a booting kernel, and that the rest is counted.
    #[test]
    fn decoys_are_not_all_nodes() {
        let mut findings: Vec<_> = (0..1000).map(|at| Finding::Lost(lost(at))).collect();
        findings.push(Finding::Booting(lost(5000)));
        let strays = vec![Finding::Lost(lost(6000))];
        let found = discovered(findings, strays, "service", &RangeSet::new());
        assert_eq!(found.len(), MOST_NODES + 1);
        let at = |n: usize| found[n].finding.text_address();
        assert_eq!(
            (at(0), at(62), at(63)),
            (Some(PhysAddr(0)), Some(PhysAddr(62)), Some(PhysAddr(5000)))
        );
        assert_eq!(found[63].strays.len(), 1);
        let rest = &found[64];
        assert_eq!(rest.node.name.as_str(), "service-65");
        let reason = rest.finding.reason();
        assert!(reason.starts_with("937 more kernels") && reason.len() < 1000, "{reason}");
    }

    /// Check that the largest number of nodes is complete, in the order of their texts.
    #[test]
    fn as_many_as_there_are() {
        let findings: Vec<_> = (0..64).rev().map(|at| Finding::Lost(lost(at))).collect();
        let found = discovered(findings, Vec::new(), IMAGE, &RangeSet::new());
        let texts: Vec<_> = found.iter().filter_map(|it| it.finding.text_address()).collect();
        assert_eq!(texts, (0..64).map(PhysAddr).collect::<Vec<_>>());
        let alone = discovered(vec![Finding::Lost(lost(1))], Vec::new(), IMAGE, &RangeSet::new());
        assert_eq!(alone[0].node.name.as_str(), IMAGE);
    }
}
