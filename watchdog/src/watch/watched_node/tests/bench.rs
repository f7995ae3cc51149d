//! A test bench for a node: memory with made-up kernels, and a clock that the test advances.

use std::sync::RwLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::{Input, Need, WatchedNode};
use super::ram::{FIRST, MadeUp, RAM, RX, Ram, SECOND};
use crate::alert::EventKind::{BaselineLearned, NodeFound};
use crate::alert::{Event, EventKind};
use crate::node::{Images, Node};
use crate::watch::attribution::WriteLog;
use crate::watch::context::Context;
use crate::watch::leases::LeasedRanges;
use crate::watch::watching::Watching;
use watchdog_core::locate::{Finding, Search, locate};
use watchdog_core::memory::{Memory, PhysAddr, PhysRange, RangeSet, ReadError};
use watchdog_core::verify::BaselineStore;

/// How long a node may boot, and how long its clocks may stand still, in seconds.
pub(super) const BOOT_LIMIT: u64 = 60;
const STILL: u64 = 5;

/// Memory that stays as it is while it is judged.
pub(super) struct Machine {
    ram: RwLock<Ram>,
    pub(super) ranges: RangeSet,
}

impl Memory for Machine {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn is_at_rest(&self) -> bool {
        true
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let (start, length) = (at.0 as usize, buffer.len());
        let ram = self.ram.read().unwrap();
        let outside =
            || ReadError::Outside { at, length: length as u64, source_name: "made up".to_owned() };
        let source = ram.0.get(start..start.saturating_add(length)).ok_or_else(outside)?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}

/// A node with two kernels in its memory, and a clock that the test advances.
pub(super) struct Bench {
    pub(super) machine: Machine,
    pub(super) watched: WatchedNode,
    pub(super) leased: LeasedRanges,
    pub(super) store: BaselineStore,
    pub(super) images: Images,
    pub(super) folder: TempDir,
    now: Instant,
    /// Runs whenever the clock is read.
    pub(super) at_each_look: Box<dyn Fn()>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let mut ram = Ram::empty();
        ram.add(FIRST);
        ram.add(SECOND);
        let ranges: RangeSet = PhysRange::with_size(PhysAddr(0), RAM as u64).into_iter().collect();
        let node = Node { name: "a".parse().unwrap(), memory: ranges.clone() };
        let folder = tempfile::tempdir().unwrap();
        Self {
            machine: Machine { ram: RwLock::new(ram), ranges },
            watched: WatchedNode::new(node),
            leased: LeasedRanges::default(),
            store: BaselineStore::in_state_dir(folder.path(), None),
            images: Images::default(),
            folder,
            now: Instant::now(),
            at_each_look: Box::new(|| ()),
        }
    }

    /// A node that runs [`FIRST`]. Its text was judged once.
    pub(super) fn watching() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.found(bench.kernel(FIRST)), [NodeFound, BaselineLearned]);
        assert_eq!(bench.sweep(), []);
        bench
    }

    /// Lets the node take steps until it needs nothing, or a search. Returns the events, and
    /// whether it needs a search.
    pub(super) fn step(&mut self, mut input: Input) -> (Vec<EventKind>, bool) {
        let (mut events, lease_ended) = (Vec::new(), self.leased.take_ended());
        let now = || {
            (self.at_each_look)();
            self.now
        };
        loop {
            let context = Context {
                memory: &self.machine,
                now: &now,
                leased: &self.leased,
                lease_ended: &lease_ended,
                write_log: &WriteLog::default(),
                still: Some(Duration::from_secs(STILL)),
                boot_limit: Duration::from_secs(BOOT_LIMIT),
            };
            let transition = self.watched.step(input, &context);
            events.extend(transition.events.into_iter().map(|event| event.kind));
            let kernel = match transition.need {
                Need::Nothing => return (events, false),
                Need::Search => return (events, true),
                Need::Baseline(kernel) => kernel,
            };
            let refused = kernel.clone();
            let mut report = |event: Event| events.push(event.kind);
            let (node, store) = (&self.watched.node, &self.store);
            let begun = Watching::begin(
                &self.images,
                store,
                &self.machine,
                node,
                kernel,
                &now,
                &mut report,
            );
            input = match begun {
                Ok(watching) => Input::Begun(Box::new(watching)),
                Err(error) => Input::not_begun(error, refused).unwrap(),
            };
        }
    }

    /// A sweep after which no search is needed.
    pub(super) fn sweep(&mut self) -> Vec<EventKind> {
        let (events, is_searched_for) = self.step(Input::Sweep);
        assert!(!is_searched_for);
        events
    }

    /// A sweep after which a search is needed.
    pub(super) fn sweep_and_search(&mut self) -> Vec<EventKind> {
        let (events, is_searched_for) = self.step(Input::Sweep);
        assert!(is_searched_for);
        events
    }

    /// Gives the node the finding of a search that takes no time.
    pub(super) fn found(&mut self, finding: Finding) -> Vec<EventKind> {
        let (events, is_searched_for) = self.step(Input::Searched(finding, Duration::ZERO));
        assert!(!is_searched_for);
        events
    }

    /// Lets this many seconds pass.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// A kernel, located.
    pub(super) fn kernel(&self, wanted: MadeUp) -> Finding {
        let search = Search::default();
        let findings = locate(&self.machine, &self.machine.ranges, &search, &mut |_, _| ());
        let is_it = |finding: &Finding| finding.text_address() == Some(PhysAddr(wanted.text));
        let finding = findings.unwrap().into_iter().find(is_it).unwrap();
        assert!(matches!(finding, Finding::Located(_)), "{finding:?}");
        finding
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        self.machine.ram.write().unwrap().write(at, bytes);
    }

    pub(super) fn entry(&self, table: u64, index: u64, value: u64) {
        self.machine.ram.write().unwrap().entry(table, index, value);
    }

    /// Lets the clocks of [`FIRST`] advance.
    pub(super) fn tick(&self, jiffies: u64) {
        self.write(FIRST.jiffies(), &jiffies.to_le_bytes());
    }

    /// Maps a page of [`FIRST`]'s text elsewhere, as when another kernel takes its place.
    pub(super) fn unmap(&self) {
        self.entry(FIRST.level1(), 7, 0x100_0000 | RX);
    }
}
