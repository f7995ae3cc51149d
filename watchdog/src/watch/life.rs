//! The clocks of a watched kernel, from sweep to sweep.

use std::time::{Duration, Instant};

use super::reported::Facts;
use watchdog_core::locate::Beat;

/// If a kernel's clocks stand still for this long, another kernel may run in its place.
const STALL: Duration = Duration::from_secs(1);
/// How many looks in a row must find still clocks before that is reported: a single look may come
/// late.
const LOOKS: u32 = 3;
/// The largest number of times that a kernel's allowed rest is doubled. It is doubled each time
/// that its clocks advance after a report.
const DOUBLED: u32 = 6;

/// The clocks of a kernel.
#[derive(Debug)]
pub(super) struct Life {
    beat: Beat,
    /// When they last advanced.
    last: Instant,
    /// The number of looks since then.
    looks: u32,
    /// How long they may stand still, computed from the last look.
    rest: Duration,
    /// How often that time was too short.
    doubled: u32,
}

/// A change of the clocks to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// They have stood still for this long.
    Stopped(Duration),
    /// They advance again, after this long.
    GoesOn(Duration),
}

/// The result of one look at the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Whether they advanced since the last look.
    pub(super) advanced: bool,
    /// The change to report.
    pub(super) news: Option<News>,
}

impl Life {
    /// Begins with the clocks as they are `now`.
    pub(super) fn begin(beat: Beat, now: Instant) -> Self {
        Self { beat, last: now, looks: 0, rest: beat.rest(), doubled: 0 }
    }

    /// Records the clocks as they are `now`. With a `limit`, clocks that stand still for at least
    /// that long are news. `reported` stores whether that was reported.
    pub(super) fn record_beat(
        &mut self,
        beat: Beat,
        now: Instant,
        limit: Option<Duration>,
        reported: &mut Facts<()>,
    ) -> Look {
        self.rest = beat.rest();
        let still = now.saturating_duration_since(self.last);
        if beat.advanced_since(&self.beat) {
            (self.beat, self.last, self.looks) = (beat, now, 0);
            let was_too_short = reported.clear();
            self.doubled = (self.doubled + u32::from(was_too_short)).min(DOUBLED);
            return Look { advanced: true, news: was_too_short.then_some(News::GoesOn(still)) };
        }
        self.looks = self.looks.saturating_add(1);
        let is_too_long = limit.is_some_and(|limit| {
            self.beat.is_known()
                && self.looks >= LOOKS
                && still >= limit.max(self.rest * (1 << self.doubled))
        });
        let is_news = is_too_long && reported.add(());
        Look { advanced: false, news: is_news.then_some(News::Stopped(still)) }
    }

    /// Whether they stand still for longer than [`STALL`].
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.looks > 0 && now.saturating_duration_since(self.last) >= STALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Look = Look { advanced: false, news: None };

    /// Clocks under watch, and the time at which that began.
    struct Clocks {
        life: Life,
        reported: Facts<()>,
        begun: Instant,
    }

    impl Clocks {
        fn new(beat: Beat) -> Self {
            let begun = Instant::now();
            Self { life: Life::begin(beat, begun), reported: Facts::default(), begun }
        }

        /// Looks at them this many seconds after the beginning.
        fn look(&mut self, beat: Beat, seconds: u64, limit: u64) -> Look {
            let (now, limit) = (self.begun + seconds_of(seconds), Some(seconds_of(limit)));
            self.life.record_beat(beat, now, limit, &mut self.reported)
        }

        fn is_stalled(&self, seconds: u64) -> bool {
            self.life.is_stalled(self.begun + seconds_of(seconds))
        }
    }

    fn seconds_of(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Check that clocks are reported once when they stand still for too long, and once when they
    /// advance again. Check that they may rest for longer after that.
    #[test]
    fn still_and_on_again() {
        let beat = Beat::of_ticks;
        let mut clocks = Clocks::new(beat(1));
        assert_eq!(clocks.look(beat(2), 0, 0), Look { advanced: true, news: None });
        for look in 0..2 * LOOKS {
            assert_eq!(clocks.look(beat(2), 59, 60), STILL, "{look}");
        }
        let stopped = Some(News::Stopped(seconds_of(61)));
        assert_eq!(clocks.look(beat(2), 61, 60), Look { advanced: false, news: stopped });
        assert_eq!(clocks.look(beat(2), 62, 60), STILL, "reported once");
        assert!(clocks.is_stalled(62));
        let on = Some(News::GoesOn(seconds_of(70)));
        assert_eq!(clocks.look(beat(3), 70, 60), Look { advanced: true, news: on });
        assert!(!clocks.is_stalled(72), "not one look since then");
        // A kernel that ticks may rest for 3 s, and now for twice as long.
        (0..LOOKS).for_each(|_| assert_eq!(clocks.look(beat(3), 75, 0), STILL));
        let stopped = Some(News::Stopped(seconds_of(6)));
        assert_eq!(clocks.look(beat(3), 76, 0), Look { advanced: false, news: stopped });
    }

    /// Check that still clocks are reported only after [`LOOKS`] looks, and never if memory is a
    /// file.
    #[test]
    fn one_late_look() {
        let mut clocks = Clocks::new(Beat::of_ticks(1));
        (1..LOOKS).for_each(|_| assert_eq!(clocks.look(Beat::of_ticks(1), 3600, 0), STILL));
        let now = clocks.begun + seconds_of(3600);
        let look = clocks.life.record_beat(Beat::of_ticks(1), now, None, &mut clocks.reported);
        assert_eq!(look, STILL);
        assert!(clocks.look(Beat::of_ticks(1), 3600, 0).news.is_some());
    }

    /// Check that nothing is reported about a kernel whose clocks are unknown.
    #[test]
    fn no_clocks() {
        let mut clocks = Clocks::new(Beat::default());
        (0..2 * LOOKS).for_each(|_| assert_eq!(clocks.look(Beat::default(), 3600, 0), STILL));
    }
}
