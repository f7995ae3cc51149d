//! The clocks of a kernel under watch, over the sweeps.

use std::time::{Duration, Instant};

use watchdog_core::locate::Beat;

/// A kernel whose clocks stand still for so long may have been left for another.
const STALL: Duration = Duration::from_secs(1);
/// Looks that must show the same before it is news: one alone may come late.
const LOOKS: u32 = 3;
/// How often the time a kernel may rest is doubled, at most: once for each time that it went on
/// after all.
const DOUBLED: u32 = 6;

/// The clocks of a kernel.
#[derive(Debug)]
pub(super) struct Life {
    beat: Beat,
    /// When they last went on.
    last: Instant,
    /// Looks since then.
    looks: u32,
    /// How long they may stand still, by what was last seen.
    rest: Duration,
    /// How often that was too short.
    doubled: u32,
    /// Whether it was reported that they stand still.
    is_reported: bool,
    /// How long they stood still, when they go on after that was reported.
    stood: Option<Duration>,
}

/// What is new about the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// They stand still for so long.
    Stopped(Duration),
    /// They go on, after so long.
    GoesOn(Duration),
}

impl Life {
    pub(super) fn begin(beat: Beat) -> Self {
        Self {
            beat,
            last: Instant::now(),
            looks: 0,
            rest: beat.rest(),
            doubled: 0,
            is_reported: false,
            stood: None,
        }
    }

    /// Takes note of what the clocks show; whether they went on.
    pub(super) fn record_beat(&mut self, now: Beat) -> bool {
        self.rest = now.rest();
        let advanced = now.advanced_since(&self.beat);
        if advanced {
            self.stood = self.is_reported.then(|| self.last.elapsed());
            self.doubled = (self.doubled + u32::from(self.is_reported)).min(DOUBLED);
            (self.beat, self.last, self.looks, self.is_reported) = (now, Instant::now(), 0, false);
        } else {
            self.looks = self.looks.saturating_add(1);
        }
        advanced
    }

    /// Whether they stand still for longer than [`STALL`].
    pub(super) fn is_stalled(&self) -> bool {
        self.looks > 0 && self.last.elapsed() >= STALL
    }

    /// What is new, where clocks may stand still for `limit` at least.
    pub(super) fn news(&mut self, limit: Duration) -> Option<News> {
        if let Some(stood) = self.stood.take() {
            return Some(News::GoesOn(stood));
        }
        let still = self.last.elapsed();
        let is_news = !self.is_reported
            && self.beat.is_known()
            && self.looks >= LOOKS
            && still >= limit.max(self.rest * (1 << self.doubled));
        self.is_reported |= is_news;
        is_news.then_some(News::Stopped(still))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that clocks are news once they stand still for too long, and once they go on, and
    /// that the next time they may rest for longer.
    #[test]
    fn still_and_on_again() {
        let beats = Beat::of_ticks;
        let mut life = Life::begin(beats(1));
        assert!(life.record_beat(beats(2)) && life.news(Duration::ZERO).is_none());
        let early = Instant::now();
        for look in 0..2 * LOOKS {
            assert!(!life.record_beat(beats(2)));
            assert!(life.news(Duration::from_secs(60)).is_none(), "{look}");
        }
        life.last = early.checked_sub(Duration::from_secs(61)).unwrap();
        let stopped = life.news(Duration::from_secs(60));
        assert!(
            matches!(stopped, Some(News::Stopped(time)) if time.as_secs() == 61),
            "{stopped:?}"
        );
        assert!(life.is_stalled() && life.news(Duration::ZERO).is_none());
        assert!(life.record_beat(beats(3)));
        let on = life.news(Duration::ZERO);
        assert!(matches!(on, Some(News::GoesOn(time)) if time.as_secs() == 61), "{on:?}");
        assert!(!life.is_stalled() && life.news(Duration::ZERO).is_none());
        (0..LOOKS).for_each(|_| assert!(!life.record_beat(beats(3))));
        life.last = early.checked_sub(life.rest + Duration::from_secs(1)).unwrap();
        assert!(life.news(Duration::ZERO).is_none());
        life.last = early.checked_sub(life.rest * 2).unwrap();
        assert!(life.news(Duration::ZERO).is_some());
    }

    /// Check that a kernel whose clocks are not known is no news.
    #[test]
    fn no_clocks() {
        let mut life = Life::begin(Beat::default());
        (0..LOOKS).for_each(|_| assert!(!life.record_beat(Beat::default())));
        life.last = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
        assert!(life.news(Duration::ZERO).is_none());
    }
}
