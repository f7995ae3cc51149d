//! Leases: who may write a node's memory for some time. The watchdog gives them, and tidies up when
//! they are over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::attempts::{Attempts, Owners};
use super::origin::Doings;
use super::tell;
use crate::alert::Event;
use crate::node::{Nodes, Target};
use watchdog_core::memory::RangeSet;
use watchdog_core::text::chain;
use watchdog_guard::{Guard, GuardEvent, LeaseState, LeaseTerms};

/// When it is looked again at a table that could not be read.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Memory that is written by leave: not judged as long as that lasts, and anew afterwards. Shared
/// with the sweeper.
#[derive(Clone, Debug, Default)]
pub(super) struct Lent(Arc<Mutex<Loan>>);

#[derive(Debug, Default)]
struct Loan {
    memory: RangeSet,
    returned: RangeSet,
}

impl Lent {
    fn with<T>(&self, act: impl FnOnce(&mut Loan) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lend(&self, memory: RangeSet) {
        self.with(|loan| loan.memory = memory);
    }

    fn give_back(&self) {
        self.with(|loan| {
            let memory = std::mem::take(&mut loan.memory);
            memory.ranges().iter().for_each(|range| loan.returned.insert(*range));
        });
    }

    /// Whether any of some memory is lent now.
    pub(super) fn touches(&self, memory: &RangeSet) -> bool {
        self.with(|loan| !loan.memory.intersection(memory).is_empty())
    }

    /// Whether anything is lent now.
    pub(super) fn is_any(&self) -> bool {
        self.with(|loan| !loan.memory.is_empty())
    }

    /// What was lent until now; once.
    pub(super) fn take_returned(&self) -> RangeSet {
        self.with(|loan| std::mem::take(&mut loan.returned))
    }
}

/// The lease in force, if there is one.
pub(super) struct Leases {
    lent: Lent,
    doings: Doings,
    current: Option<Current>,
}

struct Current {
    terms: LeaseTerms,
    memory: RangeSet,
    /// When it ends.
    over: Instant,
    /// Writes of leases before it.
    writes_before: u64,
}

/// What came of a look: what to tell, and who was found to hold on to what was lent.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) events: Vec<Event>,
    pub(super) holders: Vec<GuardEvent>,
}

impl Looked {
    /// All of it, as events.
    pub(super) fn told(
        self,
        attempts: &mut Attempts,
        owners: &Owners,
    ) -> impl Iterator<Item = Event> {
        let holders = self.holders.into_iter().filter_map(|it| attempts.event(it, owners));
        holders.chain(self.events)
    }
}

impl Leases {
    pub(super) fn new(lent: Lent, doings: Doings) -> Self {
        Self { lent, doings, current: None }
    }

    /// Waits until the lease in force is over; for ever without one.
    pub(super) async fn over(&self) {
        match &self.current {
            Some(current) => tokio::time::sleep_until(current.over).await,
            None => std::future::pending().await,
        }
    }

    /// Gives a lease that was asked for, or ends one that is over.
    pub(super) fn look(&mut self, guard: &mut Guard, target: &Target) -> Looked {
        let state = guard.leases().state();
        match state {
            Ok(LeaseState::Asked(terms)) if self.current.is_none() => {
                self.give(guard, target, terms)
            }
            Ok(LeaseState::InForce(_, left)) => {
                if let Some(current) = &mut self.current {
                    current.over = Instant::now() + left;
                }
                Looked::default()
            }
            Ok(_) if self.current.is_some() => self.end(guard),
            Ok(_) => Looked::default(),
            Err(error) => {
                log::warn!("the lease cannot be read: {}", chain(&error));
                if let Some(current) = &mut self.current {
                    current.over = Instant::now() + LOOK_AGAIN;
                }
                Looked::default()
            }
        }
    }

    fn give(&mut self, guard: &mut Guard, target: &Target, terms: LeaseTerms) -> Looked {
        let writes_before = guard.leases().writes().unwrap_or_default();
        let guarded = target.guarded.clone().unwrap_or_default();
        let given = leasable(&target.nodes, guarded, &terms.node).and_then(|memory| {
            // Before anybody may write it.
            self.lent.lend(memory.clone());
            let given = guard.leases().give(&terms, &memory).map(|()| memory);
            given.map_err(|error| chain(&error))
        });
        match given {
            Ok(memory) => {
                let event = tell::lease_begun(&terms, &memory);
                let over = Instant::now() + Duration::from_millis(terms.milliseconds);
                self.current = Some(Current { terms, memory, over, writes_before });
                Looked { events: vec![event], holders: Vec::new() }
            }
            Err(why) => {
                self.lent.give_back();
                if let Err(error) = guard.leases().refuse(&terms, &why) {
                    log::warn!("a lease could not be refused: {}", chain(&error));
                }
                Looked::default()
            }
        }
    }

    /// Ends the lease in force: what its holder has mapped is taken from him, and the node is
    /// looked at anew.
    pub(super) fn end(&mut self, guard: &mut Guard) -> Looked {
        let Some(current) = self.current.take() else { return Looked::default() };
        if let Err(error) = guard.leases().end() {
            log::warn!("the lease could not be ended: {}", chain(&error));
        }
        let holders = guard.end_holds();
        self.doings.leased(current.memory, &current.terms);
        let writes = guard.leases().writes().unwrap_or_default();
        let writes = writes.saturating_sub(current.writes_before);
        self.lent.give_back();
        let event = tell::lease_ended(&current.terms, writes, holders.len());
        Looked { events: vec![event], holders }
    }
}

/// What a lease of a node is for: its memory, and what is guarded and no node's, which is the local
/// APIC: without it nobody starts another processor.
fn leasable(nodes: &Nodes, guarded: RangeSet, name: &str) -> Result<RangeSet, String> {
    let Nodes::Configured(nodes) = nodes else {
        return Err(format!(
            "nodes were discovered, and which memory is whose is not known: configure node {name} \
             with its ranges, and start the watchdog anew"
        ));
    };
    let names: Vec<_> = nodes.iter().map(|(name, _)| name.as_str()).collect();
    if !names.contains(&name) {
        return Err(format!("there is no node {name}; there are {}", names.join(", ")));
    }
    let others = nodes.iter().filter(|(other, _)| other.as_str() != name);
    Ok(others.fold(guarded, |rest, (_, memory)| rest.difference(memory)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[&str]) -> RangeSet {
        ranges.iter().map(|range| range.parse().expect("a range")).collect()
    }

    /// Check that a lease is for the node's own memory and what is nobody's, never for another
    /// node's, and that a node that nobody knows and nodes that were discovered have none.
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
        assert!(refused.contains("there are a, b"), "{refused}");
        let discovered = Nodes::Discovered { prefix: "service", within: guarded() };
        let refused = leasable(&discovered, guarded(), "service-1").expect_err("not known");
        assert!(refused.contains("configure node service-1"), "{refused}");
    }

    /// Check that what is lent is lent until it is given back, and then to be looked at once.
    #[test]
    fn lent_and_returned() {
        let (lent, memory) = (Lent::default(), set(&["0x1000..0x2000"]));
        assert!(!lent.is_any());
        lent.lend(memory.clone());
        assert!(lent.is_any() && lent.touches(&set(&["0x1fff..0x3000"])));
        assert!(!lent.touches(&set(&["0x2000..0x3000"])) && lent.take_returned().is_empty());
        lent.give_back();
        assert!(!lent.is_any() && !lent.touches(&memory));
        // Others may be lent and returned, or refused, before anybody looks.
        lent.lend(set(&["0x8000..0x9000"]));
        lent.give_back();
        lent.give_back();
        assert_eq!(lent.take_returned(), set(&["0x1000..0x2000", "0x8000..0x9000"]));
        assert!(lent.take_returned().is_empty());
    }
}
