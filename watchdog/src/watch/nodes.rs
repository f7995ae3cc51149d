//! The watched nodes: each sweep visits all of them.

use std::time::{Duration, Instant};

use super::attribution::WriteLog;
use super::context::Context;
use super::error::SweepError;
use super::leases::LeasedRanges;
use super::reported::Facts;
use super::search_backoff::Searched;
use super::watched_node::{Input, Need, State, Transition, WatchedNode};
use super::watching::{NotBegun, Watching};
use crate::alert::Event;
use crate::node::{Found, Images, NoBaseline, Nodes, Target, candidates, some_of, successor};
use watchdog_core::locate::{Finding, Kernel, Lost};
use watchdog_core::memory::{Memory, RangeSet};
use watchdog_core::verify::BaselineStore;

/// All watched nodes.
#[derive(Debug)]
pub struct WatchedNodes {
    pub(super) plan: Nodes,
    images: Images,
    store: BaselineStore,
    boot_limit: Duration,
    pub(super) leased: LeasedRanges,
    pub(super) write_log: WriteLog,
    /// The shortest time for which the clocks of live nodes may stand still; `None` for memory in a
    /// file, which may be at rest.
    pub(super) still: Option<Duration>,
    pub(super) nodes: Vec<WatchedNode>,
    /// Whether an event reported that more kernels live than can be nodes.
    pub(super) crowded: Facts<()>,
}

/// One walk over the nodes.
pub(super) struct Walk<'a> {
    memory: &'a dyn Memory,
    /// Memory whose lease ended since the last walk.
    lease_ended: RangeSet,
    searched: Searched,
    /// Whether this is the start of the watch. At the start, a stored baseline that cannot be used
    /// ends the watch. Later it makes its node lost, because one node's file must not end the watch
    /// over all others.
    is_start: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(memory: &'a dyn Memory) -> Self {
        let (lease_ended, searched) = (RangeSet::default(), Searched::default());
        Self { memory, lease_ended, searched, is_start: false }
    }
}

impl WatchedNodes {
    /// Starts to watch the nodes that were found. Loads or learns their baselines. A node may boot
    /// for `boot_limit` before it counts as lost.
    ///
    /// # Errors
    /// [`SweepError`] if a stored baseline cannot be used, or a kernel's text cannot be read.
    pub fn take_up(
        target: &Target,
        store: BaselineStore,
        boot_limit: Duration,
        found: Vec<Found>,
        report: &mut dyn FnMut(Event),
    ) -> Result<Self, SweepError> {
        let mut watched = Self {
            plan: target.nodes.clone(),
            images: target.images.clone(),
            store,
            boot_limit,
            leased: LeasedRanges::default(),
            write_log: WriteLog::default(),
            still: None,
            nodes: Vec::new(),
            crowded: Facts::default(),
        };
        let mut walk = Walk { is_start: true, ..Walk::new(&*target.memory) };
        for Found { node, finding, strays } in found {
            watched.add(WatchedNode::new(node), finding, &mut walk, report)?;
            if let Some(node) = watched.nodes.last_mut() {
                strays.iter().filter_map(|stray| node.stray(stray)).for_each(&mut *report);
            }
        }
        Ok(watched)
    }

    /// Adds a node with the finding in its memory.
    ///
    /// # Errors
    /// As [`WatchedNodes::take_up`].
    pub(super) fn add(
        &mut self,
        node: WatchedNode,
        finding: Finding,
        walk: &mut Walk<'_>,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        self.nodes.push(node);
        self.advance(self.nodes.len() - 1, Input::Found(finding), walk, report)
    }

    /// The known memory of each node: its configured ranges, else the image of its kernel.
    #[must_use]
    pub fn owners(&self) -> Vec<(String, RangeSet)> {
        let configured = matches!(self.plan, Nodes::Configured(_));
        let owned = |watched: &WatchedNode| match &watched.state {
            _ if configured => Some(watched.node.memory.clone()),
            State::Watching(watching) => Some([watching.kernel.image].into_iter().collect()),
            State::NoKernel { .. } => None,
        };
        self.nodes
            .iter()
            .filter_map(|watched| Some((watched.node.name.to_string(), owned(watched)?)))
            .collect()
    }

    /// Sweeps every node once and reports changes.
    ///
    /// # Errors
    /// [`SweepError::Learn`] if a kernel's text cannot be read. The content of a node's memory or
    /// of its stored baseline never causes an error here: it makes the node lost or tampered.
    pub fn sweep(
        &mut self,
        memory: &dyn Memory,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        let store = &self.store;
        self.nodes.iter_mut().filter_map(|node| node.save_learned(store)).for_each(&mut *report);
        let mut walk = Walk { lease_ended: self.leased.take_ended(), ..Walk::new(memory) };
        (0..self.nodes.len()).try_for_each(|at| self.advance(at, Input::Sweep, &mut walk, report))
    }

    /// Lets the node at an index take its steps, and supplies its needs between them.
    fn advance(
        &mut self,
        at: usize,
        mut input: Input,
        walk: &mut Walk<'_>,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), SweepError> {
        loop {
            let Some(watched) = self.nodes.get_mut(at) else { return Ok(()) };
            let context = Context {
                memory: walk.memory,
                now: &Instant::now,
                leased: &self.leased,
                lease_ended: &walk.lease_ended,
                write_log: &self.write_log,
                still: self.still,
                boot_limit: self.boot_limit,
            };
            let Transition { events, need } = watched.step(input, &context);
            events.into_iter().for_each(&mut *report);
            let Some(watched) = self.nodes.get(at) else { return Ok(()) };
            input = match need {
                Need::Nothing => return Ok(()),
                Need::Search => self.search(watched, walk),
                Need::Baseline(kernel) => self.begin(watched, kernel, walk, report)?,
            };
        }
    }

    /// Searches a node's memory for a kernel that no other node runs.
    fn search(&self, watched: &WatchedNode, walk: &mut Walk<'_>) -> Input {
        let taken: Vec<_> = self.nodes.iter().filter_map(WatchedNode::text).collect();
        let memory = walk.memory;
        let survey = || {
            let findings = self.plan.survey_node(&watched.node, memory, &self.images)?;
            Ok(candidates(memory, findings))
        };
        let (found, took) = walk.searched.once(&watched.node.memory, survey);
        let finding = match found {
            Ok(candidates) => successor(candidates, &taken),
            Err(reason) => Finding::Lost(Lost::because(reason.to_owned())),
        };
        Input::Searched(finding, took)
    }

    /// Begins to watch a kernel that was located.
    fn begin(
        &self,
        watched: &WatchedNode,
        kernel: Box<Kernel>,
        walk: &Walk<'_>,
        report: &mut dyn FnMut(Event),
    ) -> Result<Input, SweepError> {
        let (node, refused) = (&watched.node, kernel.clone());
        let (images, store, clock) = (&self.images, &self.store, &Instant::now);
        match Watching::begin(images, store, walk.memory, node, kernel, clock, report) {
            Ok(watching) => Ok(Input::Begun(Box::new(watching))),
            Err(NotBegun::NoBaseline(NoBaseline::Store(error))) if walk.is_start => {
                Err(error.into())
            }
            Err(error) => Ok(Input::not_begun(error, refused)?),
        }
    }
}

/// Checks that the first search found anything to watch.
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
