//! The nodes under watch, and what one sweep over all of them makes of them.

use std::time::Duration;

use super::error::SweepError;
use super::leases::Lent;
use super::missing::Missing;
use super::origin::Doings;
use super::searches::{Searched, Searches};
use super::strays::Strays;
use super::tell;
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
    pub(super) lent: Lent,
    pub(super) doings: Doings,
    /// How long the clocks of live nodes may stand still at least; memory in a file may be at
    /// rest.
    pub(super) still: Option<Duration>,
    pub(super) nodes: Vec<WatchedNode>,
    /// Strays already told.
    pub(super) strays: Strays,
    /// Whether it was reported that more kernels live than are kept apart as nodes.
    pub(super) crowd_reported: bool,
}

#[derive(Debug)]
pub(super) struct WatchedNode {
    pub(super) node: Node,
    pub(super) state: State,
    /// Searches for a kernel, while it has none or that one stands still.
    searches: Searches,
}

#[derive(Debug)]
pub(super) enum State {
    Watching(Box<Watching>),
    Missing(Missing),
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
        tell: &mut dyn FnMut(Event),
    ) -> Result<Self, SweepError> {
        let (plan, images) = (target.nodes.clone(), target.images.clone());
        let mut watched = Self {
            plan,
            images,
            store,
            boot_limit,
            lent: Lent::default(),
            doings: Doings::default(),
            still: None,
            nodes: Vec::new(),
            strays: Strays::default(),
            crowd_reported: false,
        };
        for Found { node, finding, strays } in found {
            let state = match finding {
                Finding::Located(kernel) => {
                    tell(tell::found(&node, &kernel));
                    let (images, store) = (&watched.images, &watched.store);
                    let before = kernel.clone();
                    match Watching::begin(images, store, &*target.memory, &node, kernel, tell)? {
                        Ok(watching) => State::Watching(Box::new(watching)),
                        Err(reason) => {
                            tell(tell::lost(&node.name, &reason));
                            State::Missing(Missing::refused(before))
                        }
                    }
                }
                Finding::Booting(lost) => {
                    tell(tell::booting(&node, None, &lost));
                    State::Missing(Missing::booting())
                }
                Finding::Lost(lost) => {
                    tell(tell::lost(&node.name, &lost.reason));
                    State::Missing(Missing::never_seen())
                }
            };
            strays.iter().for_each(|stray| watched.tell_stray(&node, stray, tell));
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
            State::Missing(_) => None,
        };
        self.nodes
            .iter()
            .filter_map(|watched| Some((watched.node.name.to_string(), owned(watched)?)))
            .collect()
    }

    /// Sweeps every node once and tells what is new.
    ///
    /// # Errors
    /// [`SweepError::Read`] and [`SweepError::Learn`] when memory cannot be read. What a node's
    /// memory or its stored baseline holds is never an error here: it makes the node lost or
    /// tampered.
    pub fn sweep(
        &mut self,
        memory: &dyn Memory,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        self.save_learned(tell);
        let returned = self.lent.take_returned();
        let mut searched = Searched::default();
        for at in 0..self.nodes.len() {
            let Some(watched) = self.nodes.get_mut(at) else { break };
            if self.lent.touches(&watched.node.memory) {
                continue;
            }
            if !returned.intersection(&watched.node.memory).is_empty() {
                watched.state.begin_anew();
                watched.searches = Searches::default();
            }
            let mut events = Vec::new();
            let health = match &mut watched.state {
                State::Watching(watching) => {
                    let mut tell = |event| events.push(event);
                    watching.sweep(&watched.node, memory, &self.doings, self.still, &mut tell)
                }
                State::Missing(_) => {
                    if watched.searches.are_due() {
                        self.search(at, memory, &mut searched, tell)?;
                    }
                    continue;
                }
            };
            // What was seen of memory while somebody began to write it by leave says nothing.
            if self.lent.touches(&watched.node.memory) {
                continue;
            }
            events.into_iter().for_each(&mut *tell);
            let is_due = watched.searches.are_due();
            match health {
                Health::Alive => watched.searches.ended(),
                Health::Stalled if is_due => {
                    self.look_for_successor(at, memory, &mut searched, tell)?;
                }
                Health::Stalled => {}
                Health::Gone(reason) => {
                    log::info!("node {}: {reason}", watched.node.name);
                    watched.state.begin_anew();
                    watched.searches.ended();
                    // A node whose kernel comes and goes causes no more searches than one that
                    // has none.
                    if is_due {
                        self.search(at, memory, &mut searched, tell)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tries to store the baselines that could not be stored.
    fn save_learned(&mut self, tell: &mut dyn FnMut(Event)) {
        for WatchedNode { node, state, .. } in &mut self.nodes {
            let State::Watching(watching) = state else { continue };
            if let Some(unsaved) = &mut watching.unsaved
                && let Some(learned) = unsaved.save_again(&self.store, node, &watching.kernel)
            {
                tell(learned);
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
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        let finding = self.look(at, memory, searched);
        let limit = self.boot_limit;
        let Some(WatchedNode { node, state: State::Missing(missing), .. }) = self.nodes.get_mut(at)
        else {
            return Ok(());
        };
        let reason = match finding {
            Finding::Located(kernel) => return self.adopt(at, kernel, memory, tell),
            Finding::Booting(lost) => {
                if missing.boots() {
                    tell(tell::booting(node, missing.before.as_deref(), &lost));
                }
                if !missing.boots_too_long(limit) {
                    return Ok(());
                }
                format!("it is still booting after {limit:?}: {}", lost.reason)
            }
            Finding::Lost(lost) => {
                missing.boots_no_more();
                lost.reason
            }
        };
        // Told once for each loss, not at every search.
        if !missing.told {
            missing.told = true;
            tell(tell::lost(&node.name, &reason));
        }
        Ok(())
    }

    /// Looks whether another kernel runs where one stands still, which stays pinned until then.
    fn look_for_successor(
        &mut self,
        at: usize,
        memory: &dyn Memory,
        searched: &mut Searched,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        match self.look(at, memory, searched) {
            Finding::Located(kernel) => return self.adopt(at, kernel, memory, tell),
            Finding::Booting(lost) => {
                if let Some(WatchedNode { node, state: State::Watching(watching), .. }) =
                    self.nodes.get_mut(at)
                    && !watching.told_booting
                {
                    watching.told_booting = true;
                    tell(tell::booting(node, Some(&watching.kernel), &lost));
                }
            }
            Finding::Lost(_) => {}
        }
        Ok(())
    }

    /// What is in a node's memory that no node is known to run.
    fn look(&mut self, at: usize, memory: &dyn Memory, searched: &mut Searched) -> Finding {
        let taken: Vec<_> = self.nodes.iter().filter_map(WatchedNode::text).collect();
        let Some(watched) = self.nodes.get_mut(at) else {
            return Finding::Lost(Lost::because("there is no such node".to_owned()));
        };
        let look = || {
            let findings = self.plan.look(&watched.node, memory, &self.images)?;
            Ok(candidates(memory, findings))
        };
        let (found, took) = searched.once(&watched.node.memory, look);
        watched.searches.took(took);
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
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        let Some(watched) = self.nodes.get_mut(at) else { return Ok(()) };
        if let State::Missing(missing) = &watched.state
            && missing.has_refused(&kernel)
        {
            // Its baseline may have been imported since; nothing else is new.
            let (images, store) = (&self.images, &self.store);
            let begun = Watching::begin(images, store, memory, &watched.node, kernel, tell);
            if let Ok(watching) = refused_by_store(begun)? {
                tell(tell::found(&watched.node, &watching.kernel));
                watched.state = State::Watching(Box::new(watching));
            }
            return Ok(());
        }
        let before = match &watched.state {
            State::Watching(watching) => Some(&watching.kernel),
            State::Missing(missing) => missing.before.as_ref(),
        };
        match before.filter(|before| Identity::of(before) != Identity::of(&kernel)) {
            Some(before) => tell(tell::rebooted(&watched.node, before, &kernel)),
            None => tell(tell::found(&watched.node, &kernel)),
        }
        let (images, store) = (&self.images, &self.store);
        let refused = kernel.clone();
        let begun = Watching::begin(images, store, memory, &watched.node, kernel, tell);
        watched.state = match refused_by_store(begun)? {
            Ok(watching) => State::Watching(Box::new(watching)),
            Err(reason) => {
                tell(tell::lost(&watched.node.name, &reason));
                State::Missing(Missing::refused(refused))
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
            Self::Missing(missing) => missing.before.take(),
        };
        *self = Self::Missing(Missing::gone(before));
    }
}

impl WatchedNode {
    pub(super) fn new(node: Node, state: State) -> Self {
        Self { node, state, searches: Searches::default() }
    }

    /// Where the text under watch is.
    pub(super) fn text(&self) -> Option<PhysAddr> {
        match &self.state {
            State::Watching(watching) => Some(watching.kernel.text.phys),
            State::Missing(_) => None,
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
        && let Some(missing) = found.iter().find(|found| !is_there(found))
    {
        return Err(format!(
            "node {}: {}. Say --wait if it is to be started later",
            missing.node.name,
            missing.finding.reason()
        ));
    }
    if found.iter().any(is_there) {
        return Ok(());
    }
    let reasons = some_of(found.iter().map(|found| found.finding.reason().to_owned()));
    Err(format!(
        "no kernel was found in {}: start the other nodes first, name their memory with --node, \
         or say --wait if they are to be started later{}{}",
        plan.memory().in_brief(),
        if reasons.is_empty() { "" } else { ". Seen, but no kernel that could be located: " },
        reasons
    ))
}
