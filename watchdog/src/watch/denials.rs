//! What the guard stopped, as events.

use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::{Event, EventKind, Process, printable};
use crate::guard::{GuardEvent, WriteAttempt};
use crate::memory::RangeSet;

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

/// What the guard tells, as an event.
pub(super) fn event(event: &GuardEvent, owners: &Owners) -> Event {
    match event {
        GuardEvent::Denied(attempt) => denied(attempt, owners),
        GuardEvent::Lost(count) => Event::new(
            EventKind::GuardDegraded,
            format!(
                "{count} denied attempts came too fast to be reported one by one; they were denied all the same"
            ),
        ),
    }
}

/// A denied attempt as an event.
fn denied(attempt: &WriteAttempt, owners: &Owners) -> Event {
    let process = Process {
        pid: attempt.pid,
        comm: printable(&attempt.comm, 16),
        exe: attempt.exe.as_deref().map(|exe| printable(exe, 512)),
        uid: attempt.uid,
    };
    let node = owners.of(attempt);
    let whose = match &node {
        Some(node) => format!("memory of node {node}"),
        None => "memory that is not this node's".to_owned(),
    };
    let place = attempt.range.map_or_else(String::new, |range| {
        let bytes = if range.size() == 1 { "byte" } else { "bytes" };
        format!(": {} {bytes} at physical {}", range.size(), range.start())
    });
    let exe = process.exe.as_ref().map_or_else(String::new, |exe| format!(", {exe}"));
    let mut event = Event::new(
        EventKind::WriteDenied,
        format!(
            "Process {} ({}{exe}) of user {} tried to write to {whose} by {}{place}. It was denied; nothing was written",
            process.pid, process.comm, process.uid, attempt.path
        ),
    );
    event.node = node;
    event.phys = attempt.range.map(|range| range.start());
    event.length = attempt.range.map(|range| range.size());
    event.path = Some(attempt.path.to_string());
    event.process = Some(process);
    event.action = Some("denied");
    event
}
