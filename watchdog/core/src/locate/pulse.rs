//! Signs of life: what must advance while a kernel runs.
//!
//! Every tick adds to `jiffies_64` (kernel/time/timekeeping.c, `do_timer`) and begins and ends a
//! write of the timekeeper, which counts up the sequence at the head of `tk_core`
//! (`timekeeping_update`; `struct tk_data` since 6.13 begins with it as well). Both stand in the
//! image's data. An idle kernel may leave out ticks (NO_HZ), and makes up for them at the next
//! interrupt.
//!
//! While a kernel sleeps without ticks nothing in its memory changes, so no sign tells it from one
//! whose processors were stopped. What it says itself bounds its sleep: `tick_do_timer_cpu` is the
//! processor that ticks, and -1 while none does (kernel/time/tick-sched.c, `tick_nohz_stop_tick`).
//! Even then the detector of soft lockups, where it is on (bit 1 of `watchdog_enabled`), wakes
//! every processor each two fifths of `watchdog_thresh` seconds (kernel/watchdog.c, 5.10 to 7.2).

use std::thread;
use std::time::{Duration, Instant};

use super::bytes::{copy, u32_at, u64_at};
use crate::memory::{Memory, PhysAddr};

/// More ticks at once than any kernel makes up for: hours. More is a number, not a clock.
const MOST_TICKS: u64 = 1 << 24;
/// From one look to the next, while it is waited for signs of life.
const STEP: Duration = Duration::from_millis(50);

/// How long the clocks of a kernel that ticks may stand still: hundreds of ticks.
const AWAKE: Duration = Duration::from_secs(3);
/// The same of one that sleeps without ticks, where nothing is known to wake it.
const ASLEEP: Duration = Duration::from_secs(60);
/// The detector's threshold in seconds: what `proc_watchdog_thresh` accepts.
const THRESHOLDS: std::ops::RangeInclusive<u32> = 1..=60;
/// `WATCHDOG_SOFTOCKUP_ENABLED` (include/linux/nmi.h).
const DETECTOR_IS_ON: u64 = 2;

/// Where a kernel's clocks are, as its own symbol table says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Physical address of `jiffies_64`.
    jiffies: Option<PhysAddr>,
    /// Physical address of `tk_core`, whose first word is a sequence count.
    timekeeper: Option<PhysAddr>,
    /// Physical address of `tick_do_timer_cpu`.
    ticking: Option<PhysAddr>,
    /// Physical address of `watchdog_enabled`.
    detector: Option<PhysAddr>,
    /// Physical address of `watchdog_thresh`.
    threshold: Option<PhysAddr>,
}

/// What the clocks showed at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    jiffies: Option<u64>,
    sequence: Option<u32>,
    /// How long they may stand still after it.
    rest: Duration,
}

impl Pulse {
    /// The symbols that it goes by.
    pub(super) const SYMBOLS: [&str; 5] =
        ["jiffies_64", "tk_core", "tick_do_timer_cpu", "watchdog_enabled", "watchdog_thresh"];

    /// The pulse of a kernel with these symbols, at physical addresses.
    pub(super) const fn new(symbols: [Option<PhysAddr>; 5]) -> Self {
        let [jiffies, timekeeper, ticking, detector, threshold] = symbols;
        Self { jiffies, timekeeper, ticking, detector, threshold }
    }

    /// Reads the clocks. What cannot be read shows nothing.
    #[must_use]
    pub fn read_clocks(&self, memory: &dyn Memory) -> Beat {
        let bytes = |at: Option<PhysAddr>, length| copy(memory, at?, length);
        let word = |at| bytes(at, 4).and_then(|bytes| u32_at(&bytes, 0));
        let long = |at| bytes(at, 8).and_then(|bytes| u64_at(&bytes, 0));
        let is_on = long(self.detector).is_some_and(|enabled| enabled & DETECTOR_IS_ON != 0);
        Beat {
            jiffies: long(self.jiffies),
            sequence: word(self.timekeeper),
            rest: rest(word(self.ticking), word(self.threshold).filter(|_| is_on)),
        }
    }
}

/// How long the clocks of a healthy kernel may stand still, by the processor that ticks and by the
/// threshold of its detector of soft lockups, where that is on.
fn rest(ticking: Option<u32>, threshold: Option<u32>) -> Duration {
    if ticking.is_some_and(|processor| processor.cast_signed() >= 0) {
        return AWAKE;
    }
    // What wakes it may be late by half, and its processor may have to be waited for.
    let wakes = threshold.filter(|seconds| THRESHOLDS.contains(seconds));
    let late = |seconds: u32| Duration::from_millis(u64::from(seconds).saturating_mul(600));
    wakes
        .map_or(ASLEEP, |seconds| late(seconds).saturating_add(Duration::from_secs(1)))
        .clamp(AWAKE, ASLEEP)
}

impl Beat {
    /// Whether there is a clock that could go on.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.jiffies.is_some() || self.sequence.is_some()
    }

    /// How long the clocks may stand still after this look on a kernel that lives, by its own
    /// word: 3 s where it ticks, a minute where nothing is known to wake it.
    #[must_use]
    pub const fn rest(&self) -> Duration {
        self.rest
    }

    /// What the clocks of a kernel that never rests show after so many ticks.
    #[must_use]
    pub fn of_ticks(ticks: u64) -> Self {
        Self { jiffies: Some(ticks), sequence: None, rest: AWAKE }
    }

    /// Whether a clock went on since an earlier look, as a clock does: forward, not by years.
    #[must_use]
    pub fn advanced_since(&self, before: &Self) -> bool {
        let ticks = self.jiffies.zip(before.jiffies).map(|(now, then)| now.wrapping_sub(then));
        let writes = self.sequence.zip(before.sequence);
        let writes = writes.map(|(now, then)| u64::from(now.wrapping_sub(then)));
        [ticks, writes].into_iter().flatten().any(|step| (1..=MOST_TICKS).contains(&step))
    }
}

/// Which of several kernels live: those whose clocks go on within `timeout`. Ends early when all
/// of them do.
#[must_use]
pub fn living(memory: &dyn Memory, pulses: &[Pulse], timeout: Duration) -> Vec<bool> {
    let begun = Instant::now();
    let first: Vec<Beat> = pulses.iter().map(|pulse| pulse.read_clocks(memory)).collect();
    let mut alive = vec![false; pulses.len()];
    while alive.contains(&false) && begun.elapsed() < timeout {
        thread::sleep(STEP);
        for ((alive, pulse), first) in alive.iter_mut().zip(pulses).zip(&first) {
            *alive = *alive || pulse.read_clocks(memory).advanced_since(first);
        }
    }
    log::debug!(
        "signs of life: the clocks of {} of {} kernels advanced within {} ms",
        alive.iter().filter(|alive| **alive).count(),
        alive.len(),
        begun.elapsed().as_millis()
    );
    alive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(jiffies: u64, sequence: u32) -> Beat {
        Beat { jiffies: Some(jiffies), sequence: Some(sequence), ..Beat::default() }
    }

    /// Check that either clock is a sign of life, over its wrap-around too, and that standing
    /// still, going back and leaping are none.
    #[test]
    fn clocks_go_forward() {
        assert!(beat(5, 0).advanced_since(&beat(4, 0)));
        assert!(beat(4, 2).advanced_since(&beat(4, 0)));
        assert!(beat(1, 0).advanced_since(&beat(u64::MAX, 0)));
        for still in [beat(4, 8), beat(3, 8), beat(4, 7), beat(1 << 40, 8)] {
            assert!(!still.advanced_since(&beat(4, 8)), "{still:?}");
        }
        assert!(!Beat::default().advanced_since(&beat(1, 1)));
    }

    /// Check that a kernel that ticks may rest for no longer than 3 s, one that sleeps until
    /// something wakes it, and that no word of it makes that longer than a minute.
    #[test]
    fn as_long_as_it_may_sleep() {
        let seconds = |ticking, threshold| rest(ticking, threshold).as_secs();
        assert_eq!(seconds(Some(0), None), 3);
        assert_eq!(seconds(Some(u32::MAX), Some(10)), 7);
        assert_eq!(seconds(None, Some(1)), 3);
        for unknown in [None, Some(0), Some(61), Some(u32::MAX)] {
            assert_eq!(seconds(Some(u32::MAX), unknown), 60);
        }
        assert!(!Beat::default().is_known() && beat(0, 0).is_known());
    }
}
