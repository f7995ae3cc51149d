//! The guard's self-test, repeated every period. Changes are reported.

use super::attribution::WriteLog;
use crate::alert::{Event, EventKind};
use watchdog_guard::{Coverage, GuardError};

/// The last self-test, to compare the next one with.
#[derive(Debug)]
pub(super) struct SelfTestWatch {
    open: Vec<String>,
    write_log: WriteLog,
}

impl SelfTestWatch {
    /// Begins with the self-test made at arming. [`WriteLog`] learns whether the guard is whole.
    pub(super) fn new(first: &Coverage, write_log: WriteLog) -> Self {
        let open = first.open();
        write_log.record_self_test(first.is_whole());
        Self { open, write_log }
    }

    /// Compares a new self-test with the last one; an event when paths opened or closed.
    pub(super) fn compare(&mut self, now: &Coverage) -> Option<Event> {
        let open = now.open();
        self.write_log.record_self_test(now.is_whole());
        let opened: Vec<_> =
            open.iter().filter(|path| !self.open.contains(path)).cloned().collect();
        let closed = self.open.iter().any(|path| !open.contains(path));
        self.open = open;
        if !opened.is_empty() {
            return Some(Event::new(
                EventKind::GuardTampered,
                format!(
                    "The guard no longer denies what it must: {}. Root on node 0 can write to the \
                     other nodes' memory. Check that kernel.ftrace_enabled is 1",
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
    event.coverage = Some(coverage.rows().to_vec());
    event
}

/// The event of a guard that has lost one of its holders.
pub(super) fn holder_lost(holder: &str) -> Event {
    Event::new(
        EventKind::GuardTampered,
        format!(
            "The guard's pins are no longer kept by {holder}. The watchdog still keeps them; when \
             it exits, the guard may end"
        ),
    )
}

/// The event of a watch that lacks an image or a baseline of the watch before it.
pub(super) fn judged_by_less(what: &str) -> Event {
    Event::new(
        EventKind::GuardTampered,
        format!(
            "The vendor images or baselines changed while the guard was in force: {what}. If you \
             did not change them, a node may now pass that failed before"
        ),
    )
}

/// The event of a watch without a guard.
pub(super) fn unguarded(error: &GuardError) -> Event {
    let error = watchdog_core::text::chain(error);
    Event::new(
        EventKind::GuardDegraded,
        format!("There is no guard; the watchdog continues because of --degraded: {error}"),
    )
}

/// The event of a guard that goes on incomplete.
pub(super) fn degraded(coverage: &Coverage) -> Event {
    let mut event = Event::new(
        EventKind::GuardDegraded,
        format!(
            "The guard is incomplete; the watchdog continues because of --degraded: {coverage}. \
             Not covered: {}",
            coverage.open().join("; ")
        ),
    );
    event.coverage = Some(coverage.rows().to_vec());
    event
}
