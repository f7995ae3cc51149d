//! Signs of life: values that must advance while a kernel runs.
//!
//! Every tick adds to `jiffies_64` (kernel/time/timekeeping.c, `do_timer`). It also begins and ends
//! a write of the timekeeper, which increments the sequence at the head of `tk_core`
//! (`timekeeping_update`; `struct tk_data` since 6.13 begins with it as well). Both are in the
//! image's data. An idle kernel may skip ticks (NO_HZ), and makes up for them at the next
//! interrupt.
//!
//! While a kernel sleeps without ticks, nothing in its memory changes. No sign then distinguishes
//! it from a kernel whose processors were stopped. Its own values limit its sleep.
//! `tick_do_timer_cpu` is the processor that ticks, and -1 while none does
//! (kernel/time/tick-sched.c, `tick_nohz_stop_tick`). Even then the soft-lockup detector, if
//! enabled (bit 1 of `watchdog_enabled`), wakes each processor every two fifths of
//! `watchdog_thresh` seconds (kernel/watchdog.c, 5.10 to 7.2).
//!
//! A symbol table without `CONFIG_KALLSYMS_ALL` names none of these. Words of the image that were
//! seen to advance then stand for the clocks ([`counters`](super::counters)).

use std::thread;
use std::time::{Duration, Instant};

use super::bytes::{copy, u32_at, u64_at};
use crate::memory::{Memory, PhysAddr};

/// Most ticks that a kernel makes up for at once: hours. A larger step is not that of a clock.
const MOST_TICKS: u64 = 1 << 24;
/// Time between two reads, while waiting for signs of life.
const STEP: Duration = Duration::from_millis(50);

/// Longest time that the clocks of a ticking kernel may stand still: hundreds of ticks.
const AWAKE: Duration = Duration::from_secs(3);
/// The same for a kernel that sleeps without ticks, if nothing is known to wake it.
const ASLEEP: Duration = Duration::from_secs(60);
/// The valid thresholds of the detector in seconds, as `proc_watchdog_thresh` accepts them.
const THRESHOLDS: std::ops::RangeInclusive<u32> = 1..=60;
/// `WATCHDOG_SOFTOCKUP_ENABLED` (include/linux/nmi.h).
const DETECTOR_IS_ON: u64 = 2;

/// Most words that stand for clocks.
pub(super) const COUNTERS: usize = 4;

/// The addresses of a kernel's clocks, by its own symbol table.
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
    /// Words that were seen to advance, if no symbol names a clock.
    counters: [Option<PhysAddr>; COUNTERS],
}

/// The values of the clocks at one read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    jiffies: Option<u64>,
    sequence: Option<u32>,
    counters: [Option<u64>; COUNTERS],
    /// How long the clocks may stand still after this read.
    rest: Duration,
}

impl Pulse {
    /// The symbols that a pulse uses.
    pub(super) const SYMBOLS: [&str; 5] =
        ["jiffies_64", "tk_core", "tick_do_timer_cpu", "watchdog_enabled", "watchdog_thresh"];

    /// The pulse of a kernel with these symbols, at physical addresses.
    pub(super) const fn new(symbols: [Option<PhysAddr>; 5]) -> Self {
        let [jiffies, timekeeper, ticking, detector, threshold] = symbols;
        Self { jiffies, timekeeper, ticking, detector, threshold, counters: [None; COUNTERS] }
    }

    /// Whether a symbol names a clock.
    pub(super) const fn has_clock(&self) -> bool {
        self.jiffies.is_some() || self.timekeeper.is_some()
    }

    /// Whether there is any sign of life to look at. Without one, it is unknown whether the kernel
    /// lives.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.has_clock() || self.counters.iter().any(Option::is_some)
    }

    /// Lets words that were seen to advance stand for the clocks.
    pub(super) fn add_counters(&mut self, found: Vec<PhysAddr>) {
        for (counter, at) in self.counters.iter_mut().zip(found) {
            *counter = Some(at);
        }
    }

    /// Reads the clocks. A clock that cannot be read has no value.
    #[must_use]
    pub fn read_clocks(&self, memory: &dyn Memory) -> Beat {
        let bytes = |at: Option<PhysAddr>, length| copy(memory, at?, length);
        let word = |at| bytes(at, 4).and_then(|bytes| u32_at(&bytes, 0));
        let long = |at| bytes(at, 8).and_then(|bytes| u64_at(&bytes, 0));
        let is_on = long(self.detector).is_some_and(|enabled| enabled & DETECTOR_IS_ON != 0);
        Beat {
            jiffies: long(self.jiffies),
            sequence: word(self.timekeeper),
            counters: self.counters.map(long),
            rest: rest(word(self.ticking), word(self.threshold).filter(|_| is_on)),
        }
    }
}

/// How long the clocks of a healthy kernel may stand still, by the processor that ticks and by the
/// threshold of the soft-lockup detector, if that is on.
fn rest(ticking: Option<u32>, threshold: Option<u32>) -> Duration {
    if ticking.is_some_and(|processor| processor.cast_signed() >= 0) {
        return AWAKE;
    }
    // The wakeup may be late by half its period, and its processor may have to wait for its turn.
    let wakes = threshold.filter(|seconds| THRESHOLDS.contains(seconds));
    let late = |seconds: u32| Duration::from_millis(u64::from(seconds).saturating_mul(600));
    wakes
        .map_or(ASLEEP, |seconds| late(seconds).saturating_add(Duration::from_secs(1)))
        .clamp(AWAKE, ASLEEP)
}

impl Beat {
    /// Whether any clock could be read.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let has_counter = self.counters.iter().any(Option::is_some);
        self.jiffies.is_some() || self.sequence.is_some() || has_counter
    }

    /// How long the clocks of a living kernel may stand still after this read, by its own values.
    /// It is 3 s for a ticking kernel, and a minute if nothing is known to wake it.
    #[must_use]
    pub const fn rest(&self) -> Duration {
        self.rest
    }

    /// The beat of a kernel that never sleeps, after so many ticks.
    #[must_use]
    pub fn of_ticks(ticks: u64) -> Self {
        Self { jiffies: Some(ticks), rest: AWAKE, ..Self::default() }
    }

    /// Whether a clock advanced since an earlier read as a clock does: forward, and not by years.
    #[must_use]
    pub fn advanced_since(&self, before: &Self) -> bool {
        let ticks = self.jiffies.zip(before.jiffies).map(|(now, then)| now.wrapping_sub(then));
        let writes = self.sequence.zip(before.sequence);
        let writes = writes.map(|(now, then)| u64::from(now.wrapping_sub(then)));
        let counters = self.counters.iter().zip(&before.counters);
        let counts = counters.filter_map(|(now, then)| Some((*now)?.wrapping_sub((*then)?)));
        [ticks, writes].into_iter().flatten().chain(counts).any(is_step)
    }
}

/// Whether a clock may advance by so much from one look to the next.
pub(super) fn is_step(step: u64) -> bool {
    (1..=MOST_TICKS).contains(&step)
}

/// Which of several kernels live: those whose clocks advance within `timeout`. Returns early if all
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

    /// Check that either clock is a sign of life, also when it wraps around. Check that standing
    /// still, going back and leaping are not.
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

    /// Check that the clocks of a ticking kernel may stand still for at most 3 s, and those of a
    /// sleeping one until its wakeup. No value in its memory extends that beyond a minute.
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
