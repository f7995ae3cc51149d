//! The nodes under watch, and what one sweep over all of them makes of them.

use std::time::Duration;

use super::attribution::WriteLog;
use super::error::SweepError;
use super::leases::LeasedRanges;
use super::messages;
use super::no_kernel::NoKernel;
use super::search_backoff::{SearchBackoff, Searched};
use super::strays::Strays;
use super::watching::{Health, Watching};
use crate::alert::Event;
use crate::node::{Found, Images, Node, Nodes, Target, candidates, some_of, successor};
use watchdog_core::locate::{Finding, Kernel, Lost};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet};
use watchdog_core::text::chain;
use watchdog_core::verify::{BaselineStore, Identity};

/// All nodes under watch.
#[derive(Debug)]
pub struct WatchedNodes {
    pub(super) plan: Nodes,
    images: Images,
    pub(super) store: BaselineStore,
    boot_limit: Duration,
    pub(super) leased: LeasedRanges,
    pub(super) write_log: WriteLog,
    /// How long the clocks of live nodes may stand still at least; memory in a file may be at
    /// rest.
    pub(super) still: Option<Duration>,
    pub(super) nodes: Vec<WatchedNode>,
    /// Strays already reported.
    pub(super) strays: Strays,
    /// Whether it was reported that more kernels live than are kept apart as nodes.
    pub(super) crowd_reported: bool,
}

#[derive(Debug)]
pub(super) struct WatchedNode {
    pub(super) node: Node,
    pub(super) state: State,
    /// When a kernel is searched for, while it has none or that one stands still.
    backoff: SearchBackoff,
}

#[derive(Debug)]
pub(super) enum State {
    Watching(Box<Watching>),
    NoKernel(NoKernel),
}

impl WatchedNodes {
    /// Takes up the nodes that were found; their baselines are loaded, or learned now. A node may
    /// boot for `boot_limit` until it counts as lost.
    ///
    /// # Errors
    /// [`SweepError`] when a stored baseline is unsound or memory cannot be read.
    pub fn take_up(
        target: &Target,
        store: BaselineStore,
        boot_limit: Duration,
        found: Vec<Found>,
        report: &mut dyn FnMut(Event),
    ) -> Result<Self, SweepError> {
        let (plan, images) = (target.nodes.clone(), target.images.clone());
        let mut watched = Self {
            plan,
            images,
            store,
            boot_limit,
            leased: LeasedRanges::default(),
            write_log: WriteLog::default(),
            still: None,
            nodes: Vec::new(),
            strays: Strays::default(),
            crowd_reported: false,
        };
        for Found { node, finding, strays } in found {
            let state = match finding {
                Finding::Located(kernel) => {
                    report(messages::found(&node, &kernel));
                    let (images, store) = (&watched.images, &watched.store);
                    let before = kernel.clone();
                    match Watching::begin(images, store, &*target.memory, &node, kernel, report)? {
                        Ok(watching) => State::Watching(Box::new(watching)),
                        Err(reason) => {
                            report(messages::lost(&node.name, &reason));
                            State::NoKernel(NoKernel::refused(before))
                        }
                    }
                }
                Finding::Booting(lost) => {
                    report(messages::booting(&node, None, &lost));
                    State::NoKernel(NoKernel::booting())
                }
                Finding::Lost(lost) => {
                    report(messages::lost(&node.name, &lost.reason));
                    State::NoKernel(NoKernel::never_seen())
                }
            };
            strays.iter().for_each(|stray| watched.report_stray(&node, stray, report));
            watched.nodes.push(WatchedNode::new(node, state));
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
            State::NoKernel(_) => None,
        };
        self.nodes
            .iter()
            .filter_map(|watched| Some((watched.node.name.to_string(), owned(watched)?)))
            .collect()
    }

    /// Sweeps every node once and reports what is new.
    ///
    /// # Errors
    /// [`SweepError::Read`] and [`SweepError::Learn`] when memory cannot be read. What a node's
    /// memory or its stored baseline holds is never an error here: it makes the node lost or
    /// tampered.
    pub fn sweep(
        &mut self,
        memory: &dyn Memory,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        self.save_learned(report);
        let ended = self.leased.take_ended();
        let mut searched = Searched::default();
        for at in 0..self.nodes.len() {
            let Some(watched) = self.nodes.get_mut(at) else { break };
            if self.leased.overlap(&watched.node.memory) {
                continue;
            }
            if !ended.intersection(&watched.node.memory).is_empty() {
                watched.state.begin_anew();
                watched.backoff = SearchBackoff::default();
            }
            let mut events = Vec::new();
            let health = match &mut watched.state {
                State::Watching(watching) => {
                    let mut report = |event| events.push(event);
                    watching.sweep(&watched.node, memory, &self.write_log, self.still, &mut report)
                }
                State::NoKernel(_) => {
                    if watched.backoff.is_due() {
                        self.search(at, memory, &mut searched, report)?;
                    }
                    continue;
                }
            };
            // What was seen of memory while somebody began to write it by leave says nothing.
            if self.leased.overlap(&watched.node.memory) {
                continue;
            }
            events.into_iter().for_each(&mut *report);
            let is_due = watched.backoff.is_due();
            match health {
                Health::Alive => watched.backoff.ended(),
                Health::Stalled if is_due => {
                    self.look_for_successor(at, memory, &mut searched, report)?;
                }
                Health::Stalled => {}
                Health::Gone(reason) => {
                    log::info!("node {}: {reason}", watched.node.name);
                    watched.state.begin_anew();
                    watched.backoff.ended();
                    // A node whose kernel comes and goes causes no more searches than one that
                    // has none.
                    if is_due {
                        self.search(at, memory, &mut searched, report)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tries to store the baselines that could not be stored.
    fn save_learned(&mut self, report: &mut dyn FnMut(Event)) {
        for WatchedNode { node, state, .. } in &mut self.nodes {
            let State::Watching(watching) = state else { continue };
            if let Some(unsaved) = &mut watching.unsaved
                && let Some(learned) = unsaved.save_again(&self.store, node, &watching.kernel)
            {
                report(learned);
                watching.unsaved = None;
            }
        }
    }

    /// Looks for the kernel of a node that has none.
    fn search(
        &mut self,
        at: usize,
        memory: &dyn Memory,
        searched: &mut Searched,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        let finding = self.find_unclaimed(at, memory, searched);
        let limit = self.boot_limit;
        let Some(WatchedNode { node, state: State::NoKernel(no_kernel), .. }) =
            self.nodes.get_mut(at)
        else {
            return Ok(());
        };
        let reason = match finding {
            Finding::Located(kernel) => return self.adopt(at, kernel, memory, report),
            Finding::Booting(lost) => {
                if no_kernel.boots() {
                    report(messages::booting(node, no_kernel.before.as_deref(), &lost));
                }
                if !no_kernel.boots_too_long(limit) {
                    return Ok(());
                }
                format!("it is still booting after {limit:?}: {}", lost.reason)
            }
            Finding::Lost(lost) => {
                no_kernel.boots_no_more();
                lost.reason
            }
        };
        // Reported once for each loss, not at every search.
        if !no_kernel.reported {
            no_kernel.reported = true;
            report(messages::lost(&node.name, &reason));
        }
        Ok(())
    }

    /// Looks whether another kernel runs where one stands still, which stays pinned until then.
    fn look_for_successor(
        &mut self,
        at: usize,
        memory: &dyn Memory,
        searched: &mut Searched,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        match self.find_unclaimed(at, memory, searched) {
            Finding::Located(kernel) => return self.adopt(at, kernel, memory, report),
            Finding::Booting(lost) => {
                if let Some(WatchedNode { node, state: State::Watching(watching), .. }) =
                    self.nodes.get_mut(at)
                    && !watching.reported_booting
                {
                    watching.reported_booting = true;
                    report(messages::booting(node, Some(&watching.kernel), &lost));
                }
            }
            Finding::Lost(_) => {}
        }
        Ok(())
    }

    /// What is in a node's memory that no node is known to run.
    fn find_unclaimed(
        &mut self,
        at: usize,
        memory: &dyn Memory,
        searched: &mut Searched,
    ) -> Finding {
        let taken: Vec<_> = self.nodes.iter().filter_map(WatchedNode::text).collect();
        let Some(watched) = self.nodes.get_mut(at) else {
            return Finding::Lost(Lost::because("there is no such node".to_owned()));
        };
        let survey = || {
            let findings = self.plan.survey_node(&watched.node, memory, &self.images)?;
            Ok(candidates(memory, findings))
        };
        let (found, took) = searched.once(&watched.node.memory, survey);
        watched.backoff.took(took);
        match found {
            Ok(candidates) => successor(candidates, &taken),
            Err(reason) => Finding::Lost(Lost::because(reason.to_owned())),
        }
    }

    /// Watches a kernel in a node's place from now on.
    pub(super) fn adopt(
        &mut self,
        at: usize,
        kernel: Box<Kernel>,
        memory: &dyn Memory,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        let Some(watched) = self.nodes.get_mut(at) else { return Ok(()) };
        if let State::NoKernel(no_kernel) = &watched.state
            && no_kernel.has_refused(&kernel)
        {
            // Its baseline may have been imported since; nothing else is new.
            let (images, store) = (&self.images, &self.store);
            let begun = Watching::begin(images, store, memory, &watched.node, kernel, report);
            if let Ok(watching) = refused_by_store(begun)? {
                report(messages::found(&watched.node, &watching.kernel));
                watched.state = State::Watching(Box::new(watching));
            }
            return Ok(());
        }
        let before = match &watched.state {
            State::Watching(watching) => Some(&watching.kernel),
            State::NoKernel(no_kernel) => no_kernel.before.as_ref(),
        };
        match before.filter(|before| Identity::of(before) != Identity::of(&kernel)) {
            Some(before) => report(messages::rebooted(&watched.node, before, &kernel)),
            None => report(messages::found(&watched.node, &kernel)),
        }
        let (images, store) = (&self.images, &self.store);
        let refused = kernel.clone();
        let begun = Watching::begin(images, store, memory, &watched.node, kernel, report);
        watched.state = match refused_by_store(begun)? {
            Ok(watching) => State::Watching(Box::new(watching)),
            Err(reason) => {
                report(messages::lost(&watched.node.name, &reason));
                State::NoKernel(NoKernel::refused(refused))
            }
        };
        Ok(())
    }
}

/// A stored baseline that cannot be used makes a node lost where the watch goes on already: one
/// node's file must not end the watch over all others.
fn refused_by_store(
    begun: Result<Result<Watching, String>, SweepError>,
) -> Result<Result<Watching, String>, SweepError> {
    match begun {
        Err(SweepError::Store(error)) => Ok(Err(chain(&error))),
        begun => begun,
    }
}

impl State {
    /// Forgets where the kernel is, but not which it was.
    fn begin_anew(&mut self) {
        let before = match self {
            Self::Watching(watching) => Some(watching.kernel.clone()),
            Self::NoKernel(no_kernel) => no_kernel.before.take(),
        };
        *self = Self::NoKernel(NoKernel::gone(before));
    }
}

impl WatchedNode {
    pub(super) fn new(node: Node, state: State) -> Self {
        Self { node, state, backoff: SearchBackoff::default() }
    }

    /// Where the text under watch is.
    pub(super) fn text(&self) -> Option<PhysAddr> {
        match &self.state {
            State::Watching(watching) => Some(watching.kernel.text.phys),
            State::NoKernel(_) => None,
        }
    }
}

/// Whether the first search found anything to watch, or why not.
///
/// # Errors
/// A sentence when a configured node holds no kernel, or when no node was found at all.
pub(super) fn enough(plan: &Nodes, found: &[Found]) -> Result<(), String> {
    let is_there = |found: &Found| !matches!(found.finding, Finding::Lost(_));
    if let Nodes::Configured(_) = plan
        && let Some(no_kernel) = found.iter().find(|found| !is_there(found))
    {
        return Err(format!(
            "node {}: {}. Use --wait if it starts later",
            no_kernel.node.name,
            no_kernel.finding.reason()
        ));
    }
    if found.iter().any(is_there) {
        return Ok(());
    }
    let reasons = some_of(found.iter().map(|found| found.finding.reason().to_owned()));
    Err(format!(
        "no kernel was found in {}: start the other nodes first, name their memory with --node, \
         or use --wait if they start later{}{}",
        plan.memory().in_brief(),
        if reasons.is_empty() { "" } else { ". Found, but not located as a kernel: " },
        reasons
    ))
}
