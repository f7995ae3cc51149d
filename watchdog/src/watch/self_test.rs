//! The guard's self-test, repeated every period. It reports changes.

use super::attribution::WriteLog;
use crate::alert::{Event, EventKind, PathCoverage};
use watchdog_guard::{Coverage, CoverageRow, GuardError};

/// The last self-test, to compare the next one with.
#[derive(Debug)]
pub(super) struct SelfTestWatch {
    open: Vec<String>,
    write_log: WriteLog,
}

impl SelfTestWatch {
    /// Begins with the self-test from arming. Each test records in the [`WriteLog`] whether the
    /// guard is whole.
    pub(super) fn new(first: &Coverage, write_log: WriteLog) -> Self {
        let open = first.open();
        write_log.record_self_test(first.is_whole());
        Self { open, write_log }
    }

    /// Compares a new self-test with the last one. Returns an event if paths opened or closed.
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
                    "The guard no longer denies or reports attempts on these paths: {}. Root on \
                     node 0 may be able to write to the other nodes' memory. If \
                     kernel.ftrace_enabled is 0, set it to 1; otherwise restart the watchdog",
                    opened.join("; ")
                ),
            ));
        }
        closed.then(|| armed(now))
    }
}

/// The event for a guard that is armed, or armed again.
pub(super) fn armed(coverage: &Coverage) -> Event {
    let mut event = Event::new(EventKind::GuardArmed, format!("The guard is armed: {coverage}"));
    event.coverage = Some(rows(coverage));
    event
}

/// The event for a guard that lost one of its holders.
pub(super) fn holder_lost(holder: &str) -> Event {
    Event::new(
        EventKind::GuardTampered,
        format!(
            "The guard's pins, which keep the guard loaded, have lost a holder: {holder}. The \
             watchdog still holds the pins, but the guard may end when the watchdog exits. Find \
             out what removed the holder before you stop the watchdog"
        ),
    )
}

/// The event for a watch that lacks an image or a baseline that the previous watch had.
pub(super) fn judged_by_less(what: &str) -> Event {
    Event::new(
        EventKind::GuardTampered,
        format!(
            "The vendor images or baselines changed while the guard was in force: {what}. If you \
             did not change them, restore them: a node that failed before may pass now"
        ),
    )
}

/// The event for a watch without a guard.
pub(super) fn unguarded(error: &GuardError) -> Event {
    let error = watchdog_core::text::chain(error);
    Event::new(
        EventKind::GuardDegraded,
        format!(
            "The guard cannot be armed: {error}. The watchdog continues without a guard because of \
             --degraded. Unless an earlier guard is in force, root on node 0 can write to the \
             other nodes' memory"
        ),
    )
}

/// The event for a guard that continues incomplete.
pub(super) fn degraded(coverage: &Coverage) -> Event {
    let mut event = Event::new(
        EventKind::GuardDegraded,
        format!(
            "The guard is incomplete: {coverage}. Not covered: {}. The watchdog continues because \
             of --degraded",
            coverage.open().join("; ")
        ),
    );
    event.coverage = Some(rows(coverage));
    event
}

/// The rows of a coverage, for an event.
fn rows(coverage: &Coverage) -> Vec<PathCoverage> {
    let row = |it: &CoverageRow| PathCoverage {
        row: it.row,
        path: it.path.to_string(),
        coverage: it.coverage.name(),
        seen: it.seen,
        reason: it.reason.clone(),
    };
    coverage.rows().iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchdog_guard::Covered;

    /// Check that an event has every row of the coverage, in the same JSON as `guard self-test`
    /// prints.
    #[test]
    fn same_json() {
        let row = |row, path: &'static str, coverage, seen| CoverageRow {
            row,
            path: path.into(),
            coverage,
            seen,
            reason: (!seen).then(|| "by policy".to_owned()),
        };
        let coverage = Coverage::of([
            row(2, "write", Covered::Denied, true),
            row(1, "open", Covered::Off, false),
        ]);
        let event = armed(&coverage);
        assert_eq!(
            serde_json::to_string(&event.coverage).unwrap(),
            serde_json::to_string(&coverage).unwrap()
        );
    }
}
