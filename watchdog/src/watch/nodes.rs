//! The nodes under watch, and what one sweep over all of them makes of them.

use std::collections::BTreeMap;

use crate::alert::{Event, EventKind, chain};
use crate::locate::{Finding, Kernel, Recheck, recheck};
use crate::memory::{Memory, PhysAddr, RangeSet, ReadError};
use crate::node::{Found, Node, Nodes, Target};
use crate::verify::{
    Baseline, BaselineStore, Identity, MeasureError, StoreError, Sweep, copy_text, sweep,
};

use super::tell;

/// Differences of one sweep that are told one by one; the rest is told as a number.
const TOLD_EACH: usize = 16;
/// A lost node is looked for in every sweep at first, then ever more rarely, down to this.
const RAREST_SEARCH: u32 = 32;

/// Why the watch cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A baseline could not be stored or loaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Memory could not be read while looking for a kernel.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Text could not be read.
    #[error(transparent)]
    Measure(#[from] MeasureError),
}

/// All nodes under watch.
#[derive(Debug)]
pub struct WatchedNodes {
    plan: Nodes,
    store: BaselineStore,
    nodes: Vec<WatchedNode>,
}

#[derive(Debug)]
struct WatchedNode {
    node: Node,
    state: State,
}

#[derive(Debug)]
enum State {
    Watching(Box<Watching>),
    /// Not found: what it ran before, searches since, and searches left out until the next.
    Lost {
        before: Option<Box<Kernel>>,
        searches: u32,
        wait: u32,
    },
}

#[derive(Debug)]
struct Watching {
    kernel: Box<Kernel>,
    baseline: Baseline,
    /// Differences already told: where, and the bytes found there.
    told: BTreeMap<PhysAddr, Vec<u8>>,
    /// Findings about the mapping already told.
    told_mapping: Vec<String>,
}

impl WatchedNodes {
    /// Takes up the nodes that were found; their baselines are loaded, or learned now.
    ///
    /// # Errors
    /// [`SweepError`] when a stored baseline is unsound or memory cannot be read.
    pub fn take_up(
        plan: Nodes,
        store: BaselineStore,
        memory: &dyn Memory,
        found: Vec<Found>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Self, SweepError> {
        let mut watched = Self { plan, store, nodes: Vec::new() };
        for Found { node, finding } in found {
            let state = match finding {
                Finding::Located(kernel) => {
                    tell(tell::found(&node, &kernel));
                    let watching = Watching::begin(&watched.store, memory, &node, kernel, tell)?;
                    State::Watching(Box::new(watching))
                }
                other => {
                    tell(tell::lost(&node.name, other.reason()));
                    State::Lost { before: None, searches: 0, wait: 0 }
                }
            };
            watched.nodes.push(WatchedNode { node, state });
        }
        Ok(watched)
    }

    /// Which memory is known to be whose: configured ranges, else the kernels' own images.
    #[must_use]
    pub fn owners(&self) -> Vec<(String, RangeSet)> {
        let configured = matches!(self.plan, Nodes::Configured(_));
        let owned = |watched: &WatchedNode| match &watched.state {
            _ if configured => Some(watched.node.memory.clone()),
            State::Watching(watching) => Some([watching.kernel.image].into_iter().collect()),
            State::Lost { .. } => None,
        };
        self.nodes
            .iter()
            .filter_map(|watched| Some((watched.node.name.to_string(), owned(watched)?)))
            .collect()
    }

    /// Sweeps every node once and tells what is new.
    ///
    /// # Errors
    /// [`SweepError::Store`] when a baseline could not be stored. What a node's memory holds is
    /// never an error here: it makes the node lost or tampered.
    pub fn sweep(
        &mut self,
        memory: &dyn Memory,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        for at in 0..self.nodes.len() {
            let Some(watched) = self.nodes.get_mut(at) else { break };
            if let State::Watching(watching) = &mut watched.state {
                match watching.sweep(&watched.node, memory, tell) {
                    Ok(()) => continue,
                    Err(Gone(reason)) => {
                        let before = Some(watching.kernel.clone());
                        log::info!("node {}: {reason}", watched.node.name);
                        watched.state = State::Lost { before, searches: 0, wait: 0 };
                    }
                }
            }
            self.search(at, memory, tell)?;
        }
        Ok(())
    }

    /// Looks for the kernel of a node that has none.
    fn search(
        &mut self,
        at: usize,
        memory: &dyn Memory,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        let Some(WatchedNode { node, state: State::Lost { before, searches, wait } }) =
            self.nodes.get_mut(at)
        else {
            return Ok(());
        };
        if *wait > 0 {
            *wait -= 1;
            return Ok(());
        }
        let (node, before, tries) = (node.clone(), before.clone(), *searches);
        *searches = searches.saturating_add(1);
        *wait = (1_u32 << tries.min(5)).min(RAREST_SEARCH) - 1;
        let kernel = match self.look(&node, memory) {
            Ok(kernel) => kernel,
            Err(reason) => {
                // Told once for each loss, not at every search.
                if tries == 0 && before.is_some() {
                    tell(tell::lost(&node.name, &reason));
                }
                return Ok(());
            }
        };
        match before.filter(|before| Identity::of(before) != Identity::of(&kernel)) {
            Some(before) => tell(tell::rebooted(&node, &before, &kernel)),
            None => tell(tell::found(&node, &kernel)),
        }
        let watching = Watching::begin(&self.store, memory, &node, kernel, tell)?;
        if let Some(watched) = self.nodes.get_mut(at) {
            watched.state = State::Watching(Box::new(watching));
        }
        Ok(())
    }

    /// The kernel in a node's memory that no other node has, or why there is none.
    fn look(&self, node: &Node, memory: &dyn Memory) -> Result<Box<Kernel>, String> {
        let taken: Vec<PhysAddr> = self.nodes.iter().filter_map(WatchedNode::text).collect();
        let found = self.plan.find(memory, &mut |_, _| ()).map_err(|error| chain(&error))?;
        let mut reason = format!("no kernel is in {} any more", node.memory);
        for Found { node: candidate, finding } in found {
            if candidate.memory != node.memory {
                continue;
            }
            match finding {
                Finding::Located(kernel) if !taken.contains(&kernel.text.phys) => {
                    return Ok(kernel);
                }
                Finding::Located(_) => {}
                other => reason = other.reason().to_owned(),
            }
        }
        Err(reason)
    }
}

impl WatchedNode {
    /// Where the text under watch is.
    fn text(&self) -> Option<PhysAddr> {
        match &self.state {
            State::Watching(watching) => Some(watching.kernel.text.phys),
            State::Lost { .. } => None,
        }
    }
}

/// The kernel is not where it was, or not readable: the reason.
struct Gone(String);

impl Watching {
    /// Begins to watch a kernel: with its stored baseline if that is of this kernel at this
    /// place, else with one learned now.
    fn begin(
        store: &BaselineStore,
        memory: &dyn Memory,
        node: &Node,
        kernel: Box<Kernel>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Self, SweepError> {
        let identity = Identity::of(&kernel);
        let stored = store.load(node.name.as_str())?;
        let baseline = match stored.filter(|baseline| *baseline.identity() == identity) {
            Some(baseline) => baseline,
            None => {
                let baseline = Baseline::learn(identity, copy_text(memory, &kernel.text)?);
                store.save(node.name.as_str(), &baseline)?;
                let file = store.path(node.name.as_str());
                tell(tell::learned(node, &kernel, &baseline, &file.display().to_string()));
                baseline
            }
        };
        Ok(Self { kernel, baseline, told: BTreeMap::new(), told_mapping: Vec::new() })
    }

    fn sweep(
        &mut self,
        node: &Node,
        memory: &dyn Memory,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), Gone> {
        let gone = |error: &dyn std::error::Error| Gone(chain(error));
        match recheck(memory, &self.kernel).map_err(|error| gone(&error))? {
            Recheck::Same { findings } => self.tell_mapping(node, findings, tell),
            Recheck::Gone { reason } => return Err(Gone(reason)),
        }
        let found =
            sweep(memory, &self.kernel.text, &self.baseline).map_err(|error| gone(&error))?;
        self.tell_text(node, &found, tell);
        Ok(())
    }

    /// Tells findings about the mapping, each once for as long as it stands.
    fn tell_mapping(&mut self, node: &Node, findings: Vec<String>, tell: &mut dyn FnMut(Event)) {
        for finding in findings.iter().filter(|finding| !self.told_mapping.contains(finding)) {
            tell(tell::mapping(&node.name, &self.kernel, finding));
        }
        self.told_mapping = findings;
    }

    /// Tells differences that were not told before, and when there are none any more.
    fn tell_text(&mut self, node: &Node, found: &Sweep, tell: &mut dyn FnMut(Event)) {
        let new: Vec<_> = found
            .differences
            .iter()
            .filter(|difference| self.told.get(&difference.phys) != Some(&difference.found))
            .collect();
        for difference in new.iter().take(TOLD_EACH) {
            tell(tell::tampered(&node.name, &self.kernel, difference));
        }
        if let Some(rest) = new.len().checked_sub(TOLD_EACH).filter(|rest| *rest > 0) {
            tell(tell::tampered_more(&node.name, rest, found.pages_differing));
        }
        if found.differences.is_empty() && !self.told.is_empty() {
            tell(tell::clean(&node.name, &self.kernel));
        }
        self.told = found
            .differences
            .iter()
            .map(|difference| (difference.phys, difference.found.clone()))
            .collect();
    }
}

/// Whether the first search found anything to watch, or why not.
///
/// # Errors
/// A sentence when a configured node holds no kernel, or when no node was found at all.
pub(super) fn enough(plan: &Nodes, found: &[Found]) -> Result<(), String> {
    let located = |found: &Found| matches!(found.finding, Finding::Located(_));
    if let Nodes::Configured(_) = plan
        && let Some(missing) = found.iter().find(|found| !located(found))
    {
        return Err(format!("node {}: {}", missing.node.name, missing.finding.reason()));
    }
    if found.iter().any(located) {
        return Ok(());
    }
    let reasons: Vec<_> = found.iter().map(|found| found.finding.reason()).collect();
    Err(format!(
        "no kernel was found in {}: start the other nodes first, or name their memory with --node{}{}",
        plan.memory(),
        if reasons.is_empty() { "" } else { ". Seen, but no kernel that could be located: " },
        reasons.join("; ")
    ))
}

/// An event that says the watch is on.
pub(super) fn started(target: &Target) -> Event {
    let what = match &target.guarded {
        Some(guarded) => format!("guarding {guarded}"),
        None => {
            format!("without a guard (the memory is a file), reading {}", target.nodes.memory())
        }
    };
    Event::new(EventKind::Started, format!("watchdog {} starts, {what}", env!("CARGO_PKG_VERSION")))
}
