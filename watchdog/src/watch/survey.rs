//! Compares a survey of all memory with the pinned kernels. A survey causes reports, and never
//! moves a pinned kernel.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::error::SweepError;
use super::messages;
use super::nodes::{Walk, WatchedNodes};
use super::watched_node::{State, WatchedNode};
use crate::alert::Event;
use crate::node::{MOST_NODES, Node, Nodes, Survey};
use watchdog_core::locate::{Finding, Kernel, living};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet};
use watchdog_core::verify::Identity;

/// How long to wait for signs of life of kernels that no node runs.
const LIFE_TIMEOUT: Duration = Duration::from_secs(2);

impl WatchedNodes {
    /// Compares a survey of memory, started at `begun`, with the pinned kernels. Reports witnesses
    /// that changed their statement, and other findings that look like a kernel. If nodes are
    /// discovered, a new living kernel becomes a node.
    ///
    /// # Errors
    /// [`SweepError`] if a new node's baseline cannot be learned.
    pub fn consider(
        &mut self,
        begun: Instant,
        survey: Survey,
        memory: &dyn Memory,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        let Survey { memory: surveyed, findings } = survey;
        // A survey that began before a kernel was watched may have missed it, or seen only a part
        // of it.
        let is_older = |watched: &WatchedNode| match &watched.state {
            State::Watching(watching) => begun < watching.since,
            State::NoKernel { .. } => false,
        };
        let is_of_it = |watched: &WatchedNode| watched.node.memory == surveyed;
        if self.nodes.iter().any(|watched| is_of_it(watched) && is_older(watched)) {
            return Ok(());
        }
        let of_it = self.nodes.iter_mut().filter(|watched| is_of_it(watched));
        of_it.filter_map(|it| witness_changed(it, &findings)).for_each(&mut *report);
        let alive = self.living_strangers(&findings, memory);
        for finding in findings {
            let text = finding.text_address();
            if text.is_some() && self.nodes.iter().any(|watched| watched.text() == text) {
                continue;
            }
            let is_node = text.is_some_and(|text| alive.contains(&text))
                && matches!(finding, Finding::Located(_))
                && !self.is_any_missing()
                && !self.is_crowded(report);
            if is_node {
                let name = self.plan.name_of_next(self.nodes.len());
                let node = WatchedNode::new(Node { name, memory: surveyed.clone() });
                self.add(node, finding, &mut Walk::new(memory), report)?;
            } else if let Some(nearest) = self.nearest(&surveyed, &finding) {
                nearest.stray(&finding).into_iter().for_each(&mut *report);
            }
        }
        Ok(())
    }

    /// Texts of living kernels that no node runs. There are none if nodes are configured or a
    /// kernel is missing. One wait covers all kernels, because an adversary can make any number of
    /// them.
    fn living_strangers(&self, findings: &[Finding], memory: &dyn Memory) -> BTreeSet<PhysAddr> {
        let taken: BTreeSet<_> = self.nodes.iter().filter_map(WatchedNode::text).collect();
        if matches!(self.plan, Nodes::Configured(_)) || self.is_any_missing() {
            return BTreeSet::new();
        }
        let strangers = findings.iter().filter_map(|finding| match finding {
            Finding::Located(kernel) if !taken.contains(&kernel.text.phys) => {
                Some((kernel.text.phys, kernel.pulse))
            }
            _ => None,
        });
        let (texts, pulses): (Vec<_>, Vec<_>) = strangers.unzip();
        let alive = living(memory, &pulses, LIFE_TIMEOUT);
        texts.into_iter().zip(alive).filter_map(|(text, alive)| alive.then_some(text)).collect()
    }

    /// Whether any node has no kernel. A living kernel may then be the kernel of that node.
    fn is_any_missing(&self) -> bool {
        self.nodes.iter().any(|watched| watched.text().is_none())
    }

    /// Whether the largest number of nodes is reached. Reports that once.
    fn is_crowded(&mut self, report: &mut dyn FnMut(Event)) -> bool {
        let is_crowded = self.nodes.len() >= MOST_NODES;
        if is_crowded && self.crowded.add(()) {
            report(messages::crowded(&self.plan.name_of_next(self.nodes.len())));
        }
        is_crowded
    }

    /// The node in a memory with the text nearest to a finding.
    fn nearest(&mut self, memory: &RangeSet, finding: &Finding) -> Option<&mut WatchedNode> {
        let at = finding.text_address().unwrap_or_default();
        let apart = |watched: &&mut WatchedNode| {
            watched.text().map_or(u64::MAX, |text| text.0.abs_diff(at.0))
        };
        let of_memory = self.nodes.iter_mut().filter(|watched| watched.node.memory == *memory);
        of_memory.min_by_key(apart)
    }
}

/// The event for witnesses that newly contradict a node's kernel, contradict it differently, or
/// agree again. `None` for a kernel whose clocks stand still: it may be on its way out.
fn witness_changed(watched: &mut WatchedNode, findings: &[Finding]) -> Option<Event> {
    let State::Watching(watching) = &watched.state else { return None };
    if !watching.is_alive(Instant::now()) {
        return None;
    }
    let doubt = doubt(&watching.kernel, findings);
    let event = messages::witness_changed(&watched.node.name, &watching.kernel, doubt.as_deref());
    watched.reported.doubt.replace(doubt).then_some(event)
}

/// How witnesses contradict a pinned kernel, if they do.
fn doubt(kernel: &Kernel, findings: &[Finding]) -> Option<String> {
    let text = Some(kernel.text.phys);
    match findings.iter().find(|finding| finding.text_address() == text) {
        None => Some("no witness finds the kernel now".to_owned()),
        // The sweeps report writable text.
        Some(Finding::Booting(_)) => None,
        Some(Finding::Lost(lost)) => Some(lost.reason.clone()),
        Some(Finding::Located(now)) if Identity::of(now) != Identity::of(kernel) => {
            Some(format!("the witnesses agree on another kernel, {}", messages::kernel(now)))
        }
        Some(Finding::Located(_)) => None,
    }
}
