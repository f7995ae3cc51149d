//! When the guard searches processes for stale access, beside the self-test's own searches.

use std::time::{Duration, Instant};

use super::event::GuardEvent;

/// The shortest time from one search to the next.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a search is due, and when the last one was.
#[derive(Debug, Default)]
pub(super) struct SearchSchedule {
    is_due: bool,
    last: Option<Instant>,
}

impl SearchSchedule {
    /// Makes a search due after an event that may have left guarded memory mapped in a process.
    pub(super) fn note(&mut self, event: &GuardEvent) {
        self.is_due |= event.leaves_mappings();
    }

    /// Whether to search now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_time = |at| now.duration_since(at) >= SEARCH_INTERVAL;
        self.is_due && self.last.is_none_or(is_time)
    }

    /// Notes that a search begins now. It covers all events so far.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self { is_due: false, last: Some(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WritePath;

    /// Check that only an event that may leave a mapping makes a search due, until one begins.
    /// Check that the next search waits for the interval and still happens.
    #[test]
    fn due() {
        let (mut schedule, begun) = (SearchSchedule::default(), Instant::now());
        schedule.note(&GuardEvent::Lost { path: WritePath::Write, count: 1 });
        assert!(!schedule.is_due(begun));
        let left = GuardEvent::Lost { path: WritePath::Frames, count: 1 };
        schedule.note(&left);
        assert!(schedule.is_due(begun));
        schedule.begin(begun);
        assert!(!schedule.is_due(begun + SEARCH_INTERVAL));
        schedule.note(&left);
        schedule.note(&GuardEvent::Lost { path: WritePath::Write, count: 1 });
        assert!(!schedule.is_due(begun + SEARCH_INTERVAL / 2));
        assert!(schedule.is_due(begun + SEARCH_INTERVAL));
    }
}
