//! What a survey of all memory says beside what is pinned: it moves nothing, and is reported.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::error::SweepError;
use super::messages;
use super::no_kernel::NoKernel;
use super::nodes::{State, WatchedNode, WatchedNodes};
use super::strays::Report;
use crate::alert::Event;
use crate::node::{MOST_NODES, Node, Nodes, Survey};
use watchdog_core::locate::{Finding, Kernel, living};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet};
use watchdog_core::verify::Identity;

/// How long it is waited for signs of life of kernels that nobody knew.
const LIFE_TIMEOUT: Duration = Duration::from_secs(2);

impl WatchedNodes {
    /// Compares a survey of memory, which began then, with what is pinned: it moves nothing. A
    /// witness that says otherwise than before, and whatever else looks like a kernel, is reported;
    /// a living kernel in memory whose nodes are discovered is a node from now on.
    ///
    /// # Errors
    /// [`SweepError`] when a new node's baseline cannot be learned.
    pub fn consider(
        &mut self,
        begun: Instant,
        survey: Survey,
        memory: &dyn Memory,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        // A kernel that was taken up meanwhile was not there, or half, when others were seen.
        let is_older = |state: &State| match state {
            State::Watching(watching) => begun < watching.since,
            State::NoKernel(_) => false,
        };
        let of_it = |watched: &&WatchedNode| watched.node.memory == survey.memory;
        if self.nodes.iter().filter(of_it).any(|watched| is_older(&watched.state)) {
            return Ok(());
        }
        for WatchedNode { node, state, .. } in &mut self.nodes {
            // What changes while a kernel is on its way out is no news.
            if let State::Watching(watching) = state
                && node.memory == survey.memory
                && watching.is_alive()
            {
                let doubt = doubt(&watching.kernel, &survey.findings);
                if doubt != watching.doubt {
                    watching.doubt.clone_from(&doubt);
                    let doubt = doubt.as_deref();
                    report(messages::witness_changed(&node.name, &watching.kernel, doubt));
                }
            }
        }
        let alive = self.living_strangers(&survey.findings, memory);
        for finding in survey.findings {
            let text = finding.text_address();
            let taken = |watched: &WatchedNode| text.is_some() && watched.text() == text;
            let missing = |watched: &WatchedNode| watched.text().is_none();
            if self.nodes.iter().any(taken) {
                continue;
            }
            match &finding {
                Finding::Located(kernel)
                    if alive.contains(&kernel.text.phys)
                        && !self.nodes.iter().any(missing)
                        && !self.is_crowded(report) =>
                {
                    let node = Node {
                        name: self.plan.name_of_next(self.nodes.len()),
                        memory: survey.memory.clone(),
                    };
                    let state = State::NoKernel(NoKernel::default());
                    self.nodes.push(WatchedNode::new(node, state));
                    self.adopt(self.nodes.len() - 1, kernel.clone(), memory, report)?;
                }
                stray => {
                    if let Some(nearest) = self.nearest(&survey.memory, stray) {
                        self.report_stray(&nearest, stray, report);
                    }
                }
            }
        }
        Ok(())
    }

    /// Texts of kernels that live and no node is known to run, where each of them is a node. All
    /// are waited for at the same time: an adversary can make any number.
    fn living_strangers(&self, findings: &[Finding], memory: &dyn Memory) -> BTreeSet<PhysAddr> {
        let taken: BTreeSet<_> = self.nodes.iter().filter_map(WatchedNode::text).collect();
        let is_missing = self.nodes.iter().any(|watched| watched.text().is_none());
        if matches!(self.plan, Nodes::Configured(_)) || is_missing {
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

    /// Whether there are as many nodes as are kept apart, which is reported once.
    fn is_crowded(&mut self, report: &mut dyn FnMut(Event)) -> bool {
        let is_crowded = self.nodes.len() >= MOST_NODES;
        if is_crowded && !self.crowd_reported {
            self.crowd_reported = true;
            report(messages::crowded(&self.plan.name_of_next(self.nodes.len())));
        }
        is_crowded
    }

    /// The node of a memory whose text is nearest to a finding's.
    fn nearest(&self, memory: &RangeSet, finding: &Finding) -> Option<Node> {
        let at = finding.text_address().unwrap_or_default();
        let apart =
            |watched: &&WatchedNode| watched.text().map_or(u64::MAX, |text| text.0.abs_diff(at.0));
        let of_memory = self.nodes.iter().filter(|watched| watched.node.memory == *memory);
        of_memory.min_by_key(apart).map(|watched| watched.node.clone())
    }

    /// Reports a stray, once.
    pub(super) fn report_stray(
        &mut self,
        node: &Node,
        stray: &Finding,
        report: &mut dyn FnMut(Event),
    ) {
        let event = messages::stray(&node.name, stray);
        match self.strays.add(&node.name, &event.message) {
            Report::Stray => report(event),
            Report::More => report(messages::strays_more(&node.name)),
            Report::Nothing => {}
        }
    }
}

/// What witnesses say otherwise of a pinned kernel than when it was located.
fn doubt(kernel: &Kernel, findings: &[Finding]) -> Option<String> {
    let text = Some(kernel.text.phys);
    match findings.iter().find(|finding| finding.text_address() == text) {
        None => Some("no witness finds it now".to_owned()),
        // Writable text is reported by the sweeps.
        Some(Finding::Booting(_)) => None,
        Some(Finding::Lost(lost)) => Some(lost.reason.clone()),
        Some(Finding::Located(now)) if Identity::of(now) != Identity::of(kernel) => {
            Some(format!("they agree on another kernel, {}", messages::kernel(now)))
        }
        Some(Finding::Located(_)) => None,
    }
}
