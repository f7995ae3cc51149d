//! Leases: an executable may write a node's memory for some time. The watchdog grants a lease. When
//! the lease is over, it ends the access that is left.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::attribution::WriteLog;
use super::messages;
use super::reporter::Reporter;
use crate::alert::Event;
use crate::node::{Nodes, Target};
use watchdog_core::memory::RangeSet;
use watchdog_core::text::chain;
use watchdog_guard::{Guard, GuardEvent, LeaseState, LeaseTerms};

/// How long to wait before a lease that could not be read is read again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Leased memory, shared with the sweeper. The sweeper does not judge it during the lease, and
/// verifies it again afterwards.
#[derive(Clone, Debug, Default)]
pub(super) struct LeasedRanges(Arc<Mutex<Ranges>>);

#[derive(Debug, Default)]
struct Ranges {
    leased: RangeSet,
    ended: RangeSet,
}

impl LeasedRanges {
    fn with<T>(&self, act: impl FnOnce(&mut Ranges) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin(&self, memory: RangeSet) {
        self.with(|ranges| ranges.leased = memory);
    }

    pub(super) fn end(&self) {
        self.with(|ranges| {
            let memory = std::mem::take(&mut ranges.leased);
            memory.ranges().iter().for_each(|range| ranges.ended.insert(*range));
        });
    }

    /// Whether any part of some memory is leased now.
    pub(super) fn overlap(&self, memory: &RangeSet) -> bool {
        self.with(|ranges| !ranges.leased.intersection(memory).is_empty())
    }

    /// Whether anything is leased now.
    pub(super) fn is_any(&self) -> bool {
        self.with(|ranges| !ranges.leased.is_empty())
    }

    /// The memory whose lease ended since the last call.
    pub(super) fn take_ended(&self) -> RangeSet {
        self.with(|ranges| std::mem::take(&mut ranges.ended))
    }
}

/// The lease in force, if there is one.
pub(super) struct Leases {
    nodes: Nodes,
    /// All memory that the guard covers.
    guarded: RangeSet,
    leased: LeasedRanges,
    write_log: WriteLog,
    current: Option<Current>,
}

struct Current {
    terms: LeaseTerms,
    memory: RangeSet,
    /// When the lease ends.
    over: Instant,
    /// The number of writes by earlier leases.
    writes_before: u64,
}

/// The result of an update: an event about the lease, and stale access to memory that was leased.
#[derive(Default)]
pub(super) struct LeaseUpdate {
    event: Option<Event>,
    stale_access: Vec<GuardEvent>,
}

impl LeaseUpdate {
    /// Reports the stale access, and then the lease.
    pub(super) fn report(self, reporter: &mut Reporter) {
        self.stale_access.into_iter().for_each(|it| reporter.guard_event(it));
        self.event.into_iter().for_each(|it| reporter.report(it));
    }
}

impl Leases {
    /// Leases of the nodes of `target`. The sweeper shares `leased`.
    pub(super) fn new(target: &Target, leased: LeasedRanges, write_log: WriteLog) -> Self {
        let (nodes, guarded) = (target.nodes.clone(), target.guarded.clone().unwrap_or_default());
        Self { nodes, guarded, leased, write_log, current: None }
    }

    /// Waits until the lease in force is over; for ever without one.
    pub(super) async fn over(&self) {
        match &self.current {
            Some(current) => tokio::time::sleep_until(current.over).await,
            None => std::future::pending().await,
        }
    }

    /// Grants a lease that was requested, or ends the one that is over.
    pub(super) fn update(&mut self, guard: &mut Guard) -> LeaseUpdate {
        let state = guard.leases().state();
        match state {
            Ok(LeaseState::Asked(terms)) if self.current.is_none() => self.give(guard, terms),
            Ok(LeaseState::InForce(_, left)) => {
                if let Some(current) = &mut self.current {
                    current.over = Instant::now() + left;
                }
                LeaseUpdate::default()
            }
            Ok(_) if self.current.is_some() => self.end(guard),
            Ok(_) => LeaseUpdate::default(),
            Err(error) => {
                log::warn!("the lease cannot be read: {}", chain(&error));
                if let Some(current) = &mut self.current {
                    current.over = Instant::now() + RETRY_INTERVAL;
                }
                LeaseUpdate::default()
            }
        }
    }

    fn give(&mut self, guard: &mut Guard, terms: LeaseTerms) -> LeaseUpdate {
        let writes_before = guard.leases().writes().unwrap_or_default();
        let memory = leasable(&self.nodes, self.guarded.clone(), &terms.node);
        let given = memory.and_then(|memory| {
            // This comes before the guard allows any write.
            self.leased.begin(memory.clone());
            let given = guard.leases().give(&terms, &memory).map(|()| memory);
            given.map_err(|error| chain(&error))
        });
        match given {
            Ok(memory) => {
                let event = messages::lease_begun(&terms, &memory);
                let over = Instant::now() + Duration::from_millis(terms.milliseconds);
                self.current = Some(Current { terms, memory, over, writes_before });
                LeaseUpdate { event: Some(event), stale_access: Vec::new() }
            }
            Err(why) => {
                self.leased.end();
                if let Err(error) = guard.leases().refuse(&terms, &why) {
                    log::warn!("the refusal of a lease could not be written: {}", chain(&error));
                }
                LeaseUpdate::default()
            }
        }
    }

    /// Ends the lease in force: the guard ends the access that its holder still has, and the
    /// sweeper locates and judges the node again.
    pub(super) fn end(&mut self, guard: &mut Guard) -> LeaseUpdate {
        let Some(current) = self.current.take() else { return LeaseUpdate::default() };
        if let Err(error) = guard.leases().end() {
            log::warn!("the lease could not be ended: {}", chain(&error));
        }
        let stale_access = guard.end_stale_access();
        self.write_log.record_lease(current.memory, &current.terms);
        let writes = guard.leases().writes().unwrap_or_default();
        let writes = writes.saturating_sub(current.writes_before);
        self.leased.end();
        let event = messages::lease_ended(&current.terms, writes, stale_access.len());
        LeaseUpdate { event: Some(event), stale_access }
    }
}

/// The memory that a lease of a node covers: the node's own, and guarded memory that belongs to no
/// node. The latter is the local APIC, which a loader needs to start the node's processors.
fn leasable(nodes: &Nodes, guarded: RangeSet, name: &str) -> Result<RangeSet, String> {
    let Nodes::Configured(nodes) = nodes else {
        return Err(format!(
            "the nodes were discovered, so it is not known which memory belongs to node {name}: \
             configure node {name} with its ranges, and restart the watchdog"
        ));
    };
    let names: Vec<_> = nodes.iter().map(|(name, _)| name.as_str()).collect();
    if !names.contains(&name) {
        return Err(format!("unknown node `{name}`; expected one of {}", names.join(", ")));
    }
    let others = nodes.iter().filter(|(other, _)| other.as_str() != name);
    Ok(others.fold(guarded, |rest, (_, memory)| rest.difference(memory)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::made_up;
    use super::*;
    use crate::alert::EventKind;
    use watchdog_guard::Policy;

    fn set(ranges: &[&str]) -> RangeSet {
        ranges.iter().map(|range| range.parse().expect("a range")).collect()
    }

    /// Check that a lease covers the node's own memory and guarded memory of no node, and never
    /// another node's memory. Check that unknown nodes and discovered nodes get no lease.
    #[test]
    fn whose_memory() {
        let node = |name: &str, ranges: &[&str]| (name.parse().expect("a name"), set(ranges));
        let nodes = Nodes::Configured(vec![
            node("a", &["0x1000..0x2000", "0x8000..0x9000"]),
            node("b", &["0x2000..0x4000"]),
        ]);
        let guarded = || set(&["0x1000..0x4000", "0x8000..0x9000", "0xfee00000..0xfee01000"]);
        assert_eq!(
            leasable(&nodes, guarded(), "a"),
            Ok(set(&["0x1000..0x2000", "0x8000..0x9000", "0xfee00000..0xfee01000"]))
        );
        let refused = leasable(&nodes, guarded(), "c").expect_err("no such node");
        assert!(refused.contains("expected one of a, b"), "{refused}");
        let discovered = Nodes::Discovered { prefix: "service", within: guarded() };
        let refused = leasable(&discovered, guarded(), "service-1").expect_err("not known");
        assert!(refused.contains("configure node service-1"), "{refused}");
    }

    /// Check that memory is leased until the lease ends, and that its end is returned once.
    #[test]
    fn leased_and_ended() {
        let (leased, memory) = (LeasedRanges::default(), set(&["0x1000..0x2000"]));
        assert!(!leased.is_any());
        leased.begin(memory.clone());
        assert!(leased.is_any() && leased.overlap(&set(&["0x1fff..0x3000"])));
        assert!(!leased.overlap(&set(&["0x2000..0x3000"])) && leased.take_ended().is_empty());
        leased.end();
        assert!(!leased.is_any() && !leased.overlap(&memory));
        // Another lease may end, or be refused, before the sweeper takes the ended ranges.
        leased.begin(set(&["0x8000..0x9000"]));
        leased.end();
        leased.end();
        assert_eq!(leased.take_ended(), set(&["0x1000..0x2000", "0x8000..0x9000"]));
        assert!(leased.take_ended().is_empty());
    }

    /// Check that access that outlives a lease is recorded like any other, and that it is reported
    /// before the end of the lease.
    #[test]
    fn reported_end() {
        let (send, reported) = mpsc::channel();
        let write_log = WriteLog::default();
        let mut reporter =
            Reporter::new(write_log.clone(), None, move |event| send.send(event).expect("sent"));
        let event = Some(Event::new(EventKind::LeaseEnded, "the end"));
        let stale_access = vec![made_up::attempt(Policy::Observe)];
        LeaseUpdate { event, stale_access }.report(&mut reporter);
        let kinds: Vec<_> = reported.try_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::WriteObserved, EventKind::LeaseEnded]);
        assert!(made_up::is_recorded(&write_log));
    }
}
