//! The log of access through which node 0 may have written to the nodes' memory. It holds data and
//! makes no decisions.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::access::Access;
use watchdog_core::memory::{MemoryUse, RangeSet};
use watchdog_guard::{GuardEvent, LeaseTerms, Policies, Policy, WritePath};

/// Entries that the log keeps of each sort: the last of those that are over, and the first of those
/// that last.
pub(super) const KEPT: usize = 256;
/// How long the guard may take to find the other processes that share the memory of a process that
/// it killed.
const SHARED: Duration = Duration::from_secs(5);

/// The log itself. Its copies share the entries: the guard's loop writes them, the sweeper reads
/// them.
#[derive(Clone, Debug, Default)]
pub(in crate::watch) struct WriteLog {
    policies: Policies,
    writes: Arc<Mutex<Writes>>,
}

/// The content of the log at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes {
    /// Whether the guard was whole in its last self-test; `None` without a guard.
    pub(super) is_guard_whole: Option<bool>,
    /// When a self-test found the guard whole again, after the last one that did not.
    pub(super) gap_ended: Option<Instant>,
    /// Access that is over, the oldest first.
    over: VecDeque<Entry>,
    /// Access that may be used at any later time.
    lasting: Vec<Entry>,
    /// The current uses by node 0's kernel.
    pub(super) uses: BTreeSet<MemoryUse>,
}

/// Access of node 0 that was not stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Physical memory that the access reached; `None` if that is unknown.
    pub(super) memory: Option<RangeSet>,
    /// The latest time at which it was over; `None` if it lasts.
    pub(super) until: Option<Instant>,
    pub(super) access: Access,
}

impl WriteLog {
    fn with<T>(&self, act: impl FnOnce(&mut Writes) -> T) -> T {
        act(&mut self.writes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An empty log for a guard with these policies.
    pub(in crate::watch) fn new(policies: Policies) -> Self {
        Self { policies, writes: Arc::default() }
    }

    /// Records whether the guard is whole.
    pub(in crate::watch) fn record_self_test(&self, is_whole: bool) {
        let now = Instant::now();
        self.with(|writes| {
            if is_whole && writes.is_guard_whole == Some(false) {
                writes.gap_ended = Some(now);
            }
            writes.is_guard_whole = Some(is_whole);
        });
    }

    /// Records the attempts of an event, unless the guard denied them.
    pub(in crate::watch) fn record_event(&self, event: &GuardEvent) {
        let (access, memory) = match event {
            GuardEvent::Attempt(attempt) if attempt.action != Policy::Deny => {
                let memory = attempt.range.map(|range| [range].into_iter().collect());
                (Access::of_attempt(attempt), memory)
            }
            // The guard denied these attempts, so the processes do not matter.
            GuardEvent::Lost { path, .. } if self.is_refused(*path) => return,
            GuardEvent::Lost { path, count } => {
                (Access::Unreported { path: *path, count: *count }, None)
            }
            GuardEvent::RecursionMisses { path, count } => {
                (Access::Unjudged { path: *path, count: *count }, None)
            }
            GuardEvent::Attempt(_) | GuardEvent::Inherited(_) | GuardEvent::Unreported { .. } => {
                return;
            }
        };
        let grace = if event.leaves_mappings() { SHARED } else { Duration::ZERO };
        let until = (!access.lasts()).then(|| Instant::now() + grace);
        self.with(|writes| writes.add(Entry { memory, until, access }));
    }

    /// Whether policy denies every attempt on a path.
    fn is_refused(&self, path: WritePath) -> bool {
        self.policies.get(path) >= Policy::Deny && path.allows(Policy::Deny).is_ok()
    }

    /// Records the uses by node 0's kernel: those of `now`, and those that are `over`.
    pub(in crate::watch) fn record_uses(&self, over: &[MemoryUse], now: &BTreeSet<MemoryUse>) {
        let until = Some(Instant::now());
        self.with(|writes| {
            for it in over {
                let memory = Some([it.range].into_iter().collect());
                writes.add(Entry { memory, until, access: Access::Used(it.clone()) });
            }
            writes.uses.clone_from(now);
        });
    }

    /// Records a lease of `memory` that is over.
    pub(in crate::watch) fn record_lease(&self, memory: RangeSet, terms: &LeaseTerms) {
        let access = Access::Leased { exe: terms.exe.clone() };
        let (memory, until) = (Some(memory), Some(Instant::now()));
        self.with(|writes| writes.add(Entry { memory, until, access }));
    }

    /// Whether there is a guard.
    pub(super) fn has_guard(&self) -> bool {
        self.with(|writes| writes.is_guard_whole.is_some())
    }

    /// A copy of the log.
    pub(super) fn snapshot(&self) -> Writes {
        self.with(|writes| writes.clone())
    }
}

impl Writes {
    pub(super) fn add(&mut self, entry: Entry) {
        if entry.until.is_some() {
            self.over.push_back(entry);
            if self.over.len() > KEPT {
                self.forget_oldest();
            }
            return;
        }
        match self.lasting.len() {
            0..KEPT => self.lasting.push(entry),
            // One more entry represents all later ones, at any place.
            KEPT => self.lasting.push(Entry { memory: None, ..entry }),
            _ => {}
        }
    }

    /// Drops the oldest entry that is over. The next entry then represents all dropped ones, at any
    /// place: a flood in one place must not hide a write in another.
    fn forget_oldest(&mut self) {
        let dropped = self.over.pop_front();
        if let (Some(dropped), Some(oldest)) = (dropped, self.over.front_mut()) {
            oldest.memory = None;
            oldest.until = oldest.until.max(dropped.until);
        }
    }

    /// Access to any part of some memory after `since`. Access that was over by then is left out.
    /// The latest comes first, and lasting access comes last.
    pub(super) fn since<'a>(
        &'a self,
        since: Instant,
        memory: &'a RangeSet,
    ) -> impl Iterator<Item = &'a Access> {
        let is_there = |entry: &&Entry| {
            entry.memory.as_ref().is_none_or(|it| !it.intersection(memory).is_empty())
        };
        let may_go_on = move |entry: &&Entry| entry.until.is_none_or(|until| until >= since);
        let entries = self.over.iter().rev().filter(may_go_on).chain(self.lasting.iter().rev());
        entries.filter(is_there).map(|entry| &entry.access)
    }
}

#[cfg(test)]
mod tests;
