//! What the guard saw and stopped, as events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::{Event, EventKind, Process};
use watchdog_core::memory::RangeSet;
use watchdog_core::text::printable;
use watchdog_guard::{GuardEvent, Policy, WriteAttempt, WritePath};

/// Which memory is known to be which node's; changes as nodes are found.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners(Arc<Mutex<Vec<(String, RangeSet)>>>);

impl Owners {
    /// Replaces what is known.
    pub(super) fn set(&self, owners: Vec<(String, RangeSet)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = owners;
    }

    /// The node in whose memory any byte of an attempt lies.
    fn of(&self, attempt: &WriteAttempt) -> Option<String> {
        let range = attempt.range?;
        let owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.iter().find(|(_, memory)| memory.overlaps(&range)).map(|(name, _)| name.clone())
    }
}

/// Attempts of one process on one path between two tellings that are told one by one; of those
/// behind them only how many there were.
const TOLD: u64 = 10;
/// Processes and paths that are kept apart at a time; what is more is told one by one.
const KEPT: usize = 1024;

/// Attempts of the same process by the same path, with the same outcome.
type Kind = (u32, WritePath, Policy);

/// Attempts on their way to events: many of one kind become one event with a count.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    kinds: HashMap<Kind, (u64, WriteAttempt)>,
}

impl Attempts {
    /// What the guard tells, as an event; `None` for what is counted and told later.
    pub(super) fn event(&mut self, event: GuardEvent, owners: &Owners) -> Option<Event> {
        let (attempt, inherited) = match event {
            GuardEvent::Attempt(attempt) => (attempt, false),
            GuardEvent::Inherited(attempt) => (attempt, true),
            GuardEvent::Lost { path, count } => return Some(lost(path, count)),
            GuardEvent::Untold { path, count } => return Some(untold(path, count)),
            GuardEvent::Missed { path, count } => return Some(missed(path, count)),
        };
        if inherited {
            let mut event = told(&attempt, owners, 1);
            event.uncounted = true;
            return Some(event);
        }
        let kind = (attempt.process.pid, attempt.path, attempt.action);
        let is_new = !self.kinds.contains_key(&kind);
        if is_new && self.kinds.len() >= KEPT {
            return Some(told(&attempt, owners, 1));
        }
        let (count, last) = self.kinds.entry(kind).or_insert_with(|| (0, attempt.clone()));
        *count = count.saturating_add(1);
        if *count <= TOLD {
            return Some(told(&attempt, owners, 1));
        }
        *last = attempt;
        None
    }

    /// What was counted since the last time, an event for each kind.
    pub(super) fn folded(&mut self, owners: &Owners) -> Vec<Event> {
        let kinds = std::mem::take(&mut self.kinds);
        let many = kinds.into_values().filter(|(count, _)| *count > TOLD);
        many.map(|(count, last)| told(&last, owners, count.saturating_sub(TOLD))).collect()
    }
}

/// What is not told one by one: what it was, how many, and why.
fn counted(path: WritePath, what: &str, count: u64, why: &str) -> Event {
    let mut event =
        Event::new(EventKind::GuardDegraded, format!("{what} by {path}: {count}. {why}"));
    event.path = Some(path.to_string());
    event.count = Some(count);
    event
}

/// Attempts that came too fast to be told one by one.
fn lost(path: WritePath, count: u64) -> Event {
    let what = "Attempts that came too fast to be told one by one,";
    counted(path, what, count, "The guard did with them as with those before")
}

/// Calls that nobody judged.
fn missed(path: WritePath, count: u64) -> Event {
    let why = "The kernel skips a program where it took the processor from another thread in the \
        midst of it (preempt=full does that; preempt=voluntary does not)";
    let what = "Calls that were not judged, wherever they were aimed,";
    Event { uncounted: true, ..counted(path, what, count, why) }
}

/// Attempts that a watchdog before this one could not tell of.
fn untold(path: WritePath, count: u64) -> Event {
    let what = "Attempts while no watchdog ran, or when the last one ended,";
    let why = "Nobody can say by whom; the guard did with them as policy says";
    Event { uncounted: true, ..counted(path, what, count, why) }
}

/// An attempt as an event; or `count` of the same kind, of which it is the last.
fn told(attempt: &WriteAttempt, owners: &Owners, count: u64) -> Event {
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
    let node = owners.of(attempt);
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

/// The kind of event: whoever reaches for the guard itself is one of the worst.
fn kind(attempt: &WriteAttempt) -> EventKind {
    match attempt.action {
        _ if is_about_the_guard(attempt.path) => EventKind::GuardTampered,
        Policy::Deny => EventKind::WriteDenied,
        Policy::Kill => EventKind::WriteKilled,
        Policy::Observe | Policy::Off => EventKind::WriteObserved,
    }
}

/// Whether a path leads to the guard, its watchdog or a node's processor, not to memory.
fn is_about_the_guard(path: WritePath) -> bool {
    use WritePath::{Bpf, Ftrace, Own, Processors, Tracing};
    matches!(path, Ftrace | Own | Bpf | Processors | Tracing)
}

/// What happened, in a sentence.
fn sentence(attempt: &WriteAttempt, process: &Process, node: Option<&str>, count: u64) -> String {
    let exe = process.exe.as_ref().map_or_else(String::new, |exe| format!(", {exe}"));
    let who = format!("Process {} ({}{exe}) of user {}", process.pid, process.comm, process.uid);
    let times = if count > 1 { format!(" {count} more times") } else { String::new() };
    let place = attempt.range.map_or_else(String::new, |range| {
        let whose = match node {
            Some(node) => format!("memory of node {node}"),
            None => "memory that nobody may write".to_owned(),
        };
        let bytes = if range.size() == 1 { "byte" } else { "bytes" };
        let last = if count > 1 { ", the last time" } else { "" };
        format!("{whose}{last}: {} {bytes} at physical {}", range.size(), range.start())
    });
    let done = match attempt.action {
        Policy::Deny => "It was denied",
        Policy::Kill => "The process was killed",
        Policy::Observe | Policy::Off => "It was not stopped",
    };
    let detail = attempt.detail.as_ref().map_or_else(String::new, |it| format!(" ({it})"));
    match attempt.path.deed() {
        None => {
            let place = if place.is_empty() {
                "a place in memory that was not seen".to_owned()
            } else {
                place
            };
            let nothing = if attempt.action == Policy::Deny { "; nothing was written" } else { "" };
            format!("{who} tried{times} to write by {} to {place}. {done}{nothing}", attempt.path)
        }
        Some(deed) if place.is_empty() => format!("{who}{times} {deed}{detail}. {done}"),
        Some(deed) => format!("{who}{times} {deed}{detail}, {place}. {done}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchdog_core::memory::{PhysAddr, PhysRange};
    use watchdog_guard::Attacker;

    fn attempt(pid: u32, path: WritePath) -> WriteAttempt {
        WriteAttempt {
            path,
            action: Policy::Deny,
            detail: None,
            range: PhysRange::new(PhysAddr(0x1000), PhysAddr(0x1001)),
            process: Attacker {
                pid,
                tid: pid,
                uid: 0,
                comm: b"dd".to_vec(),
                exe: None,
                cgroup: None,
                parent: 1,
                parent_comm: b"sh".to_vec(),
            },
        }
    }

    /// Check that a flood is told by its first attempts and a count, that every attempt is in one
    /// of the two, and that other processes and paths are kept apart.
    #[test]
    fn flood_is_folded() {
        let (mut attempts, owners) = (Attempts::default(), Owners::default());
        let mut tell =
            |pid, path| attempts.event(GuardEvent::Attempt(attempt(pid, path)), &owners).is_some();
        let told = (0..1000).filter(|_| tell(7, WritePath::Write)).count() as u64;
        assert_eq!(told, TOLD);
        assert!(tell(7, WritePath::Mmap) && tell(8, WritePath::Write));
        let folded = attempts.folded(&owners);
        assert_eq!(folded.iter().map(|event| event.count).collect::<Vec<_>>(), [Some(1000 - TOLD)]);
        assert!(folded[0].message.contains("990 more times"), "{}", folded[0].message);
        assert!(attempts.folded(&owners).is_empty());
    }
}
