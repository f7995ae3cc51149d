//! The attempts that the guard reports, as events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::{Event, EventKind, Process, Receipt};
use watchdog_core::memory::RangeSet;
use watchdog_core::text::printable;
use watchdog_guard::{GuardEvent, Policy, WriteAttempt, WritePath};

/// The known memory of each node. It changes as nodes are found.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners(Arc<Mutex<Vec<(String, RangeSet)>>>);

impl Owners {
    /// Replaces the known owners.
    pub(super) fn set(&self, owners: Vec<(String, RangeSet)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = owners;
    }

    /// The node whose memory an attempt reaches.
    fn owner_of(&self, attempt: &WriteAttempt) -> Option<String> {
        let range = attempt.range?;
        let owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.iter().find(|(_, memory)| memory.overlaps(&range)).map(|(name, _)| name.clone())
    }
}

/// Attempts of one kind that are reported one by one in a period. One event has the count of the
/// others.
const REPORTED_EACH: u64 = 10;
/// Kinds that are counted separately at a time. Attempts of further kinds are reported one by one.
const KEPT: usize = 1024;

/// Attempts of the same process by the same path, with the same outcome.
type Kind = (u32, WritePath, Policy);

/// Makes events of attempts: many attempts of one kind become one event with a count. An event
/// about attempts that the guard in force counted has a receipt for them.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    kinds: HashMap<Kind, (u64, WriteAttempt)>,
}

impl Attempts {
    /// The event for a report of the guard; `None` for an attempt that is counted and reported
    /// later.
    pub(super) fn event(&mut self, event: GuardEvent, owners: &Owners) -> Option<Event> {
        match event {
            GuardEvent::Attempt(attempt) => self.attempt(attempt, owners),
            GuardEvent::Lost { path, count } => Some(with_receipt(lost(path, count), path, count)),
            // An earlier guard counted these.
            GuardEvent::Inherited(attempt) => Some(attempt_event(&attempt, owners, 1)),
            GuardEvent::Unreported { path, count } => Some(unreported(path, count)),
            // No guard counted these.
            GuardEvent::RecursionMisses { path, count } => Some(recursion_misses(path, count)),
        }
    }

    fn attempt(&mut self, attempt: WriteAttempt, owners: &Owners) -> Option<Event> {
        let kind = (attempt.process.pid, attempt.path, attempt.action);
        let is_new = !self.kinds.contains_key(&kind);
        if is_new && self.kinds.len() >= KEPT {
            return Some(reported(&attempt, owners, 1));
        }
        let (count, last) = self.kinds.entry(kind).or_insert_with(|| (0, attempt.clone()));
        *count = count.saturating_add(1);
        if *count <= REPORTED_EACH {
            return Some(reported(&attempt, owners, 1));
        }
        *last = attempt;
        None
    }

    /// One event for each kind of the attempts that were counted since the last call.
    pub(super) fn folded(&mut self, owners: &Owners) -> Vec<Event> {
        let kinds = std::mem::take(&mut self.kinds);
        let many = kinds.into_values().filter(|(count, _)| *count > REPORTED_EACH);
        many.map(|(count, last)| reported(&last, owners, count.saturating_sub(REPORTED_EACH)))
            .collect()
    }
}

/// An event for `count` attempts of one kind, with a receipt for them.
fn reported(last: &WriteAttempt, owners: &Owners, count: u64) -> Event {
    with_receipt(attempt_event(last, owners, count), last.path, count)
}

/// Adds a receipt for `attempts` on a path to an event.
fn with_receipt(event: Event, path: WritePath, attempts: u64) -> Event {
    Event { receipt: Some(Receipt { path: path.number(), attempts }), ..event }
}

/// An event about attempts that are not reported one by one. It has only a path and a count.
fn counted(path: WritePath, count: u64, message: String) -> Event {
    let mut event = Event::new(EventKind::GuardDegraded, message);
    event.path = Some(path.to_string());
    event.count = Some(count);
    event
}

/// An event for attempts that found the guard's buffer full.
fn lost(path: WritePath, count: u64) -> Event {
    let attempts = if count == 1 { "attempt was" } else { "attempts were" };
    let message = format!(
        "{count} more `{path}` {attempts} handled by policy but not reported one by one (event \
         buffer full)"
    );
    counted(path, count, message)
}

/// An event for calls that no program judged.
fn recursion_misses(path: WritePath, count: u64) -> Event {
    let calls = if count == 1 { "call was" } else { "calls were" };
    let message = format!(
        "{count} `{path}` {calls} not judged by the guard, and may have reached any memory. The \
         kernel skips a program of the guard on a processor where another thread was preempted \
         inside that program. This happens with preempt=full; preempt=voluntary on node 0's kernel \
         command line prevents it"
    );
    counted(path, count, message)
}

/// An event for attempts that an earlier watchdog could not report.
fn unreported(path: WritePath, count: u64) -> Event {
    let attempts = if count == 1 { "attempt" } else { "attempts" };
    let message = format!(
        "{count} `{path}` {attempts} made while no watchdog ran, or while the previous watchdog \
         exited. The guard handled them by policy. The processes that made them are unknown"
    );
    counted(path, count, message)
}

/// An event for an attempt, or for `count` attempts of one kind with this as the last one.
fn attempt_event(attempt: &WriteAttempt, owners: &Owners, count: u64) -> Event {
    let who = &attempt.process;
    let process = Process {
        pid: who.pid,
        tid: Some(who.tid),
        comm: printable(&who.comm, 16),
        exe: who.executable().map(|exe| printable(&exe, 512)),
        exe_sha256: None,
        uid: who.uid,
        cgroup: who.control_group().map(|cgroup| printable(&cgroup, 512)),
        parent: Some(who.parent),
        parent_comm: Some(printable(&who.parent_comm, 16)),
    };
    let node = owners.owner_of(attempt);
    let mut event = Event::new(kind(attempt), sentence(attempt, &process, node.as_deref(), count));
    event.node = node;
    event.phys = attempt.range.map(|range| range.start());
    event.length = attempt.range.map(|range| range.size());
    event.path = Some(attempt.path.to_string());
    event.process = Some(process);
    event.executable = who.open_executable().map(Arc::new);
    event.count = (count > 1).then_some(count);
    event.action = Some(match attempt.action {
        Policy::Deny => "denied",
        Policy::Kill => "killed",
        Policy::Observe | Policy::Off => "observed",
    });
    event
}

/// The kind of the event. An attempt on the guard itself has the highest severity.
fn kind(attempt: &WriteAttempt) -> EventKind {
    match attempt.action {
        _ if attempt.path.is_about_the_guard() => EventKind::GuardTampered,
        Policy::Deny => EventKind::WriteDenied,
        Policy::Kill => EventKind::WriteKilled,
        Policy::Observe | Policy::Off => EventKind::WriteObserved,
    }
}

/// A sentence about an attempt.
fn sentence(attempt: &WriteAttempt, process: &Process, node: Option<&str>, count: u64) -> String {
    let exe = process.exe.as_ref().map_or_else(String::new, |exe| format!(", {exe}"));
    let who = format!("Process {} ({}{exe}) of user {}", process.pid, process.comm, process.uid);
    let times = if count > 1 { format!(" {count} more times") } else { String::new() };
    let place = attempt.range.map_or_else(String::new, |range| {
        let whose = match node {
            Some(node) => format!("memory of node {node}"),
            None => "memory that no process may write".to_owned(),
        };
        let bytes = if range.size() == 1 { "byte" } else { "bytes" };
        let last = if count > 1 { ", most recently" } else { "" };
        format!("{whose}{last}: {} {bytes} at physical {}", range.size(), range.start())
    });
    let done = match attempt.action {
        Policy::Deny => "The guard denied the attempt",
        Policy::Kill => "The guard killed the process",
        Policy::Observe | Policy::Off => "The guard did not stop the process",
    };
    let detail = attempt.detail.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
    match attempt.path.deed() {
        None => {
            let place = if place.is_empty() {
                "an address that the guard could not determine".to_owned()
            } else {
                place
            };
            let nothing = if attempt.action == Policy::Deny { "; nothing was written" } else { "" };
            let path = attempt.path;
            format!("{who} tried{times} to write through `{path}` to {place}. {done}{nothing}")
        }
        Some(deed) if place.is_empty() => format!("{who} {deed}{detail}{times}. {done}"),
        Some(deed) => format!("{who} {deed}{detail}{times}, {place}. {done}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::write_attempt;
    use super::*;
    use watchdog_core::memory::{PhysAddr, PhysRange};

    fn attempt(pid: u32, path: WritePath) -> WriteAttempt {
        let range = PhysRange::new(PhysAddr(0x1000), PhysAddr(0x1001)).expect("a range");
        write_attempt(pid, path, Policy::Deny, range)
    }

    /// Check that a flood is reported by its first attempts and a count, and that every attempt is
    /// in one of the two. Check that other processes and paths are counted separately.
    #[test]
    fn flood_is_folded() {
        let (mut attempts, owners) = (Attempts::default(), Owners::default());
        let mut report =
            |pid, path| attempts.event(GuardEvent::Attempt(attempt(pid, path)), &owners).is_some();
        let reported = (0..1000).filter(|_| report(7, WritePath::Write)).count() as u64;
        assert_eq!(reported, REPORTED_EACH);
        assert!(report(7, WritePath::Mmap) && report(8, WritePath::Write));
        let folded = attempts.folded(&owners);
        assert_eq!(
            folded.iter().map(|event| event.count).collect::<Vec<_>>(),
            [Some(1000 - REPORTED_EACH)]
        );
        assert!(folded[0].message.contains("990 more times"), "{}", folded[0].message);
        assert!(attempts.folded(&owners).is_empty());
    }

    /// Check that receipts account once for each attempt that the guard in force counted: reported
    /// one by one, folded, or lost in the buffer. Check that attempts that an earlier guard
    /// counted, and calls that no guard counted, have no receipt.
    #[test]
    fn receipts() {
        let (mut attempts, owners) = (Attempts::default(), Owners::default());
        let path = WritePath::Write;
        let flood = (0..100).map(|_| GuardEvent::Attempt(attempt(7, path)));
        let lost = GuardEvent::Lost { path, count: 50 };
        let events: Vec<_> =
            flood.chain([lost]).filter_map(|it| attempts.event(it, &owners)).collect();
        let folded = attempts.folded(&owners);
        let receipts: Vec<_> = events.iter().chain(&folded).filter_map(|it| it.receipt).collect();
        assert!(receipts.iter().all(|it| it.path == path.number()), "{receipts:?}");
        let numbers: Vec<_> = receipts.iter().map(|it| it.attempts).collect();
        assert_eq!(numbers, [vec![1; 10], vec![50, 90]].concat());
        for event in [
            GuardEvent::Inherited(attempt(7, path)),
            GuardEvent::Unreported { path, count: 3 },
            GuardEvent::RecursionMisses { path, count: 3 },
        ] {
            let event = attempts.event(event, &owners).expect("an event");
            assert_eq!(event.receipt, None, "{}", event.message);
        }
    }
}
