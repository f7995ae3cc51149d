//! The log of what may have written to the nodes' memory from node 0. It holds data, and judges
//! nothing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::access::Access;
use watchdog_core::memory::{MemoryUse, RangeSet};
use watchdog_guard::{GuardEvent, LeaseTerms, Policies, Policy, WritePath};

/// Entries that the log keeps: the last of those that are over, the first of those that last.
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

/// What the log holds at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes {
    /// Whether the guard was whole in its last self-test; `None` without a guard.
    pub(super) is_guard_whole: Option<bool>,
    /// Access that is over, the oldest first.
    over: VecDeque<Entry>,
    /// Access that may be used at any later time.
    lasting: Vec<Entry>,
    /// What node 0's kernel uses now.
    pub(super) uses: BTreeSet<MemoryUse>,
}

/// Access of node 0 that was not stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Physical memory that it reached; `None` if that is unknown.
    pub(super) memory: Option<RangeSet>,
    /// When it was over at the latest; `None` if it lasts.
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
        self.with(|writes| writes.is_guard_whole = Some(is_whole));
    }

    /// Records what the guard did not stop of what it reports.
    pub(in crate::watch) fn record_event(&self, event: &GuardEvent) {
        let (access, memory) = match event {
            GuardEvent::Attempt(attempt) if attempt.action != Policy::Deny => {
                let memory = attempt.range.map(|range| [range].into_iter().collect());
                (Access::of_attempt(attempt), memory)
            }
            // The guard refused these attempts, so the processes do not matter.
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

    /// Whether policy refuses every attempt on a path.
    fn is_refused(&self, path: WritePath) -> bool {
        self.policies.get(path) >= Policy::Deny && path.allows(Policy::Deny).is_ok()
    }

    /// Records what node 0's kernel uses `now`, and which of its uses are `over`.
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

    /// What the log holds now.
    pub(super) fn snapshot(&self) -> Writes {
        self.with(|writes| writes.clone())
    }
}

impl Writes {
    pub(super) fn add(&mut self, entry: Entry) {
        if entry.until.is_some() {
            self.over.push_back(entry);
            if self.over.len() > KEPT {
                self.over.pop_front();
            }
            return;
        }
        match self.lasting.len() {
            0..KEPT => self.lasting.push(entry),
            // One more entry stands for all that follow, wherever they are.
            KEPT => self.lasting.push(Entry { memory: None, ..entry }),
            _ => {}
        }
    }

    /// Access to any of some memory after `since`: what is over by then is left out. The latest
    /// comes first, and what lasts after the rest.
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
mod tests {
    use super::*;
    use watchdog_core::memory::{PhysRange, UseKind};
    use watchdog_guard::{Attacker, Preset, WriteAttempt};

    fn range(text: &str) -> PhysRange {
        text.parse().expect("a range")
    }

    fn attempt(path: WritePath, action: Policy, at: &str) -> GuardEvent {
        GuardEvent::Attempt(WriteAttempt {
            path,
            action,
            detail: None,
            range: Some(range(at)),
            process: Attacker {
                pid: 7,
                tid: 7,
                uid: 0,
                comm: b"dd".to_vec(),
                exe: None,
                cgroup: None,
                parent: 1,
                parent_comm: Vec::new(),
            },
        })
    }

    fn allowed(path: WritePath) -> Access {
        Access::Allowed { path, pid: 7, comm: b"dd".to_vec() }
    }

    fn killed(path: WritePath) -> Access {
        Access::Killed { path, pid: 7, comm: b"dd".to_vec() }
    }

    /// All access to a range that the log holds and that came after `since`.
    fn since(log: &WriteLog, since: Instant, at: &str) -> Vec<Access> {
        let memory = [range(at)].into_iter().collect();
        log.snapshot().since(since, &memory).cloned().collect()
    }

    /// Check that the log holds what the guard did not stop and nothing that it denied, by place;
    /// what a mapping leaves behind lasts, and the rest is over at once.
    #[test]
    fn events() {
        let mut policies = Policies::of(Preset::Standard);
        policies.set(WritePath::Write, Policy::Observe).expect("it can be observed");
        let (log, begun) = (WriteLog::new(policies), Instant::now());
        assert!(!log.has_guard());
        log.record_self_test(true);
        assert!(log.has_guard());
        let there = |from| since(&log, from, "0x1000..0x3000");
        log.record_event(&attempt(WritePath::Mmap, Policy::Deny, "0x1000..0x2000"));
        log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x3000..0x4000"));
        log.record_event(&GuardEvent::Lost { path: WritePath::Mmap, count: 3 });
        log.record_event(&GuardEvent::Unreported { path: WritePath::Write, count: 3 });
        assert_eq!(there(begun), []);
        log.record_event(&attempt(WritePath::Write, Policy::Observe, "0x2fff..0x4000"));
        log.record_event(&attempt(WritePath::Held, Policy::Kill, "0x2fff..0x4000"));
        log.record_event(&GuardEvent::Lost { path: WritePath::Write, count: 3 });
        log.record_event(&GuardEvent::RecursionMisses { path: WritePath::Mmap, count: 2 });
        let unjudged = Access::Unjudged { path: WritePath::Mmap, count: 2 };
        let expected = [
            Access::Unreported { path: WritePath::Write, count: 3 },
            killed(WritePath::Held),
            allowed(WritePath::Write),
            unjudged.clone(),
        ];
        assert_eq!(there(begun), expected);
        assert_eq!(there(Instant::now()), vec![unjudged.clone()]);
        log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x2fff..0x4000"));
        assert_eq!(there(Instant::now()), [allowed(WritePath::Mmap), unjudged]);
    }

    /// Check that a process that was killed for a driver's mapping stays in the log until those
    /// that share its memory are found.
    #[test]
    fn killed_for_a_mapping() {
        let log = WriteLog::default();
        log.record_event(&attempt(WritePath::Frames, Policy::Kill, "0x1000..0x2000"));
        let now = Instant::now();
        let there = |from| since(&log, from, "0x1000..0x3000");
        assert_eq!(there(now), [killed(WritePath::Frames)]);
        assert_eq!(there(now + SHARED), []);
    }

    /// Check that what the kernel uses is known as long as it lasts, and that a use and a lease
    /// that are over are entries of their time.
    #[test]
    fn uses_and_leases() {
        let (log, begun) = (WriteLog::default(), Instant::now());
        let used =
            MemoryUse { range: range("0x2000..0x2001"), kind: UseKind::Mapped("phram".to_owned()) };
        let there = |from| since(&log, from, "0x1000..0x3000");
        log.record_uses(&[], &[used.clone()].into());
        assert_eq!((log.snapshot().uses.len(), there(begun)), (1, vec![]));
        log.record_uses(std::slice::from_ref(&used), &BTreeSet::new());
        let terms =
            r#"{"node":"web","exe":"/usr/bin/boot","sha256":"","milliseconds":0,"user":""}"#;
        let terms = serde_json::from_str(terms).expect("the terms of a lease");
        log.record_lease([range("0x1000..0x2000")].into_iter().collect(), &terms);
        assert!(log.snapshot().uses.is_empty());
        let leased = Access::Leased { exe: "/usr/bin/boot".to_owned() };
        assert_eq!(there(begun), [leased, Access::Used(used)]);
        assert_eq!(there(Instant::now()), []);
        assert_eq!(since(&log, begun, "0x3000..0x4000"), []);
    }

    /// Check the bounds: the log keeps the last entries of access that is over. Of access that
    /// lasts it keeps the first, and one that stands for all the others.
    #[test]
    fn bounds() {
        let (log, begun) = (WriteLog::default(), Instant::now());
        for pid in 0..2 * KEPT {
            log.record_event(&GuardEvent::Lost { path: WritePath::Open, count: pid as u64 });
            log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x1000..0x2000"));
        }
        let writes = log.snapshot();
        assert_eq!((writes.over.len(), writes.lasting.len()), (KEPT, KEPT + 1));
        assert_eq!(since(&log, begun, "0x1000..0x2000").len(), 2 * KEPT + 1);
        assert_eq!(since(&log, Instant::now(), "0x8000..0x9000"), [allowed(WritePath::Mmap)]);
    }
}
