//! One watched node, as a state machine. A step takes new information about the node and changes
//! its state. It returns the events to report and what the node needs for its next step.

use std::time::{Duration, Instant};

use super::context::Context;
use super::messages;
use super::reported::Reported;
use super::search_backoff::SearchBackoff;
use super::strays::Report;
use super::watching::{Health, NotBegun, Watching};
use crate::alert::Event;
use crate::node::{NoBaseline, Node};
use watchdog_core::locate::{Finding, Kernel};
use watchdog_core::memory::PhysAddr;
use watchdog_core::text::chain;
use watchdog_core::verify::{BaselineError, BaselineStore, Identity};

/// A node, with its kernel and the facts that were reported about it.
#[derive(Debug)]
pub(super) struct WatchedNode {
    pub(super) node: Node,
    pub(super) state: State,
    pub(super) reported: Reported,
    /// When to search for a kernel while there is none or its clocks stand still.
    backoff: SearchBackoff,
}

/// The state of a node.
#[derive(Debug)]
pub(super) enum State {
    /// A kernel is watched. Its place is pinned.
    Watching(Box<Watching>),
    /// There is no kernel to watch.
    NoKernel {
        /// The kernel that the node ran before.
        before: Option<Box<Kernel>>,
        /// When its next kernel began to boot, if one boots.
        booting: Option<Instant>,
    },
}

/// New information about a node.
pub(super) enum Input {
    /// It is time for a sweep.
    Sweep,
    /// A search that the node needed had this finding and took this time.
    Searched(Finding, Duration),
    /// A finding from another source.
    Found(Finding),
    /// A baseline exists for the kernel that was found. The kernel is watched from now on.
    Begun(Box<Watching>),
    /// The kernel that was found cannot be judged, for this reason.
    Refused(Box<Kernel>, String),
    /// The kernel that was found cannot be judged until its image can be used.
    NoImage(Box<Kernel>, String),
}

impl Input {
    /// Why a node's `kernel` that was found is not watched.
    ///
    /// # Errors
    /// [`BaselineError`] if learning failed, which the content of a node's memory never causes.
    pub(super) fn not_begun(why: NotBegun, kernel: Box<Kernel>) -> Result<Self, BaselineError> {
        match why {
            NotBegun::NoBaseline(error @ NoBaseline::Image { .. }) => {
                Ok(Self::NoImage(kernel, chain(&error)))
            }
            NotBegun::NoBaseline(error) => Ok(Self::Refused(kernel, chain(&error))),
            NotBegun::Learn(error) => Err(error),
        }
    }
}

/// What a node needs before it can take another step.
#[derive(Debug, Default)]
pub(super) enum Need {
    #[default]
    Nothing,
    /// A search of its memory: [`Input::Searched`] follows.
    Search,
    /// A baseline for this kernel: [`Input::Begun`], [`Input::Refused`] or
    /// [`Input::NoImage`] follows.
    Baseline(Box<Kernel>),
}

/// The result of a step.
#[derive(Debug, Default)]
pub(super) struct Transition {
    /// Events to report in this order, before the node's need is met.
    pub(super) events: Vec<Event>,
    pub(super) need: Need,
}

impl WatchedNode {
    /// A node about which nothing is known yet.
    pub(super) fn new(node: Node) -> Self {
        let state = State::NoKernel { before: None, booting: None };
        Self { node, state, reported: Reported::default(), backoff: SearchBackoff::default() }
    }

    /// Takes a step.
    pub(super) fn step(&mut self, input: Input, context: &Context<'_>) -> Transition {
        match input {
            Input::Sweep => self.sweep(context),
            Input::Searched(finding, took) => {
                self.backoff.took(took, (context.now)());
                self.found(finding, context)
            }
            Input::Found(finding) => self.found(finding, context),
            Input::Begun(watching) => self.begun(watching),
            Input::Refused(kernel, reason) => {
                let event = messages::lost(&self.node.name, &reason);
                let refused = self.refused(kernel, event);
                self.reported.lost.add(());
                refused
            }
            Input::NoImage(kernel, reason) => {
                let event = messages::unjudged(&self.node.name, &kernel, &reason);
                let refused = self.refused(kernel, event);
                // In memory at rest, the next search finds the same kernel without signs of life.
                if context.still.is_none() {
                    self.reported.lost.add(());
                }
                refused
            }
        }
    }

    /// Sweeps the watched kernel. If there is none, or its clocks stand still, the node needs a
    /// search when one is due.
    fn sweep(&mut self, context: &Context<'_>) -> Transition {
        if context.is_leased(&self.node.memory) {
            return Transition::default();
        }
        if context.was_leased(&self.node.memory) {
            self.forget_place();
            self.backoff = SearchBackoff::default();
        }
        let (mut events, mut health) = (Vec::new(), None);
        if let State::Watching(watching) = &mut self.state {
            let mut report = |event| events.push(event);
            let reported = &mut self.reported;
            health = Some(watching.sweep(&self.node, context, reported, &mut report));
            // If a lease began during the sweep, its findings say nothing about the node.
            if context.is_leased(&self.node.memory) {
                return Transition::default();
            }
        }
        let is_searched_for = match health {
            None | Some(Health::Stalled) => true,
            Some(Health::Alive) => {
                self.backoff.ended();
                false
            }
            Some(Health::Gone(reason)) => {
                log::info!("node {}: {reason}", self.node.name);
                self.forget_place();
                // Frequent searches begin again, but the next one is not due any sooner. So a node
                // whose kernel comes and goes causes no more searches than a node without a kernel.
                self.backoff.ended();
                true
            }
        };
        let is_due = is_searched_for && self.backoff.is_due((context.now)());
        Transition { events, need: if is_due { Need::Search } else { Need::Nothing } }
    }

    /// Takes a finding in the node's memory that no node runs. A watched kernel whose clocks stand
    /// still stays pinned until another one is located.
    fn found(&mut self, finding: Finding, context: &Context<'_>) -> Transition {
        let mut events = Vec::new();
        let lost = match finding {
            Finding::Located(kernel) => return self.located(kernel),
            Finding::Booting(lost) => {
                if self.reported.booting.add(()) {
                    events.push(messages::booting(&self.node, self.state.kernel(), &lost));
                }
                let limit = context.boot_limit;
                let is_late = self.state.boots_for((context.now)()).is_some_and(|it| it > limit);
                let why = || format!("the node is still booting after {limit:?}: {}", lost.reason);
                is_late.then(why)
            }
            Finding::Lost(lost) => self.state.boots_no_more().then(|| {
                self.reported.booting.clear();
                lost.reason
            }),
        };
        // A loss is reported once, not at every search.
        if let Some(reason) = lost
            && self.reported.lost.add(())
        {
            events.push(messages::lost(&self.node.name, &reason));
        }
        Transition { events, need: Need::Nothing }
    }

    /// Takes a kernel that was located. A kernel that was refused before is not reported until it
    /// has a baseline, which may have been imported since.
    fn located(&mut self, kernel: Box<Kernel>) -> Transition {
        let identity = Identity::of(&kernel);
        let mut events = Vec::new();
        if !self.reported.refused.contains(&identity) {
            let before = self.state.kernel().filter(|before| Identity::of(before) != identity);
            events.push(match before {
                Some(before) => messages::rebooted(&self.node, before, &kernel),
                None => messages::found(&self.node, &kernel),
            });
        }
        Transition { events, need: Need::Baseline(kernel) }
    }

    /// Begins to watch a kernel.
    fn begun(&mut self, watching: Box<Watching>) -> Transition {
        let mut events = Vec::new();
        if self.reported.refused.contains(&Identity::of(&watching.kernel)) {
            events.push(messages::found(&self.node, &watching.kernel));
        }
        self.enter(State::Watching(watching));
        Transition { events, need: Need::Nothing }
    }

    /// Gives up a kernel that cannot be judged. Reports that once, by `event`.
    fn refused(&mut self, kernel: Box<Kernel>, event: Event) -> Transition {
        let identity = Identity::of(&kernel);
        if self.reported.refused.contains(&identity) {
            return Transition::default();
        }
        self.enter(State::NoKernel { before: Some(kernel), booting: None });
        self.reported.refused.add(identity);
        Transition { events: vec![event], need: Need::Nothing }
    }

    /// Forgets the place of the kernel, but not its identity.
    fn forget_place(&mut self) {
        let before = match &mut self.state {
            State::Watching(watching) => Some(watching.kernel.clone()),
            State::NoKernel { before, .. } => before.take(),
        };
        self.enter(State::NoKernel { before, booting: None });
    }

    /// Changes the state, and forgets the reported facts about the last kernel.
    fn enter(&mut self, state: State) {
        self.state = state;
        self.reported.forget_kernel();
    }

    /// The event of a stray in the node's memory, if it is news.
    pub(super) fn stray(&mut self, stray: &Finding) -> Option<Event> {
        let event = messages::stray(&self.node.name, stray);
        match Report::of_stray(&mut self.reported, &event.message) {
            Report::Stray => Some(event),
            Report::More => Some(messages::strays_more(&self.node.name)),
            Report::Nothing => None,
        }
    }

    /// Tries again to store a learned baseline. Returns the event that it was stored.
    pub(super) fn save_learned(&mut self, store: &BaselineStore) -> Option<Event> {
        let State::Watching(watching) = &mut self.state else { return None };
        let unsaved = watching.unsaved.as_mut()?;
        let learned = unsaved.save_again(store, &self.node, &watching.kernel)?;
        watching.unsaved = None;
        Some(learned)
    }

    /// The address of the watched text.
    pub(super) fn text(&self) -> Option<PhysAddr> {
        match &self.state {
            State::Watching(watching) => Some(watching.kernel.text.phys),
            State::NoKernel { .. } => None,
        }
    }
}

impl State {
    /// The watched kernel, else the one before.
    fn kernel(&self) -> Option<&Kernel> {
        match self {
            Self::Watching(watching) => Some(&watching.kernel),
            Self::NoKernel { before, .. } => before.as_deref(),
        }
    }

    /// Records that a node without a kernel boots. Returns for how long; `None` if a kernel is
    /// watched.
    fn boots_for(&mut self, now: Instant) -> Option<Duration> {
        let Self::NoKernel { booting, .. } = self else { return None };
        Some(now.saturating_duration_since(*booting.get_or_insert(now)))
    }

    /// Records that no kernel boots. Returns whether the node has no kernel.
    fn boots_no_more(&mut self) -> bool {
        let Self::NoKernel { booting, .. } = self else { return false };
        *booting = None;
        true
    }
}

#[cfg(test)]
mod tests;
