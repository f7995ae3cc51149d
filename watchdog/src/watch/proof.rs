//! The proof that the guard still bites, repeated every period: what changed is told.

use super::origin::Doings;
use crate::alert::{Event, EventKind};
use watchdog_guard::{Coverage, GuardError};

/// The last proof, to compare the next one with.
#[derive(Debug)]
pub(super) struct ProofWatch {
    open: Vec<String>,
    doings: Doings,
}

impl ProofWatch {
    /// Begins with the proof made at arming; who asks where a change came from is told how the
    /// guard is.
    pub(super) fn new(first: &Coverage, doings: Doings) -> Self {
        let open = first.open();
        doings.tried(first.is_whole());
        Self { open, doings }
    }

    /// Compares a new proof with the last one; an event when paths opened or closed.
    pub(super) fn compare(&mut self, now: &Coverage) -> Option<Event> {
        let open = now.open();
        self.doings.tried(now.is_whole());
        let opened: Vec<_> =
            open.iter().filter(|path| !self.open.contains(path)).cloned().collect();
        let closed = self.open.iter().any(|path| !open.contains(path));
        self.open = open;
        if !opened.is_empty() {
            return Some(Event::new(
                EventKind::GuardTampered,
                format!(
                    "The guard does not deny any more what it must: {}. The other nodes' memory \
                     is open to writes by this node's root (is kernel.ftrace_enabled 0?)",
                    opened.join("; ")
                ),
            ));
        }
        closed.then(|| armed(now))
    }
}

/// The event of an armed, or again armed, guard.
pub(super) fn armed(coverage: &Coverage) -> Event {
    let mut event = Event::new(EventKind::GuardArmed, format!("The guard is armed: {coverage}"));
    event.coverage = Some(coverage.report());
    event
}

/// The event of a guard that one thing less keeps in force.
pub(super) fn holder_lost(holder: &str) -> Event {
    Event::new(
        EventKind::GuardTampered,
        format!(
            "The guard's pins are not kept by {holder} any more. This process still keeps them; \
             when it ends too, the guard may be gone"
        ),
    )
}

/// The event of a watch that follows one which judged by more.
pub(super) fn judged_by_less(what: &str) -> Event {
    Event::new(
        EventKind::GuardTampered,
        format!(
            "The watch goes on by something else than before, under the guard in force: {what}. \
             Unless you changed that yourself, nodes may now pass that did not before"
        ),
    )
}

/// The event of a watch without a guard.
pub(super) fn unguarded(error: &GuardError) -> Event {
    let error = watchdog_core::text::chain(error);
    Event::new(
        EventKind::GuardDegraded,
        format!("There is no guard, and the watch goes on as --degraded says: {error}"),
    )
}

/// The event of a guard that goes on incomplete.
pub(super) fn degraded(coverage: &Coverage) -> Event {
    let mut event = Event::new(
        EventKind::GuardDegraded,
        format!(
            "The guard is incomplete and goes on as --degraded says: {coverage}; not denied: {}",
            coverage.open().join("; ")
        ),
    );
    event.coverage = Some(coverage.report());
    event
}
