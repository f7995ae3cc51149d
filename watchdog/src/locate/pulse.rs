//! Signs of life: what must advance while a kernel runs.
//!
//! Every tick adds to `jiffies_64` (kernel/time/timekeeping.c, `do_timer`) and begins and ends a
//! write of the timekeeper, which counts up the sequence at the head of `tk_core`
//! (`timekeeping_update`; `struct tk_data` since 6.13 begins with it as well). Both stand in the
//! image's data. An idle kernel may leave out ticks (NO_HZ), and makes up for them at the next.

use std::thread;
use std::time::{Duration, Instant};

use super::bytes::{copy, u32_at, u64_at};
use crate::memory::{Memory, PhysAddr};

/// More ticks at once than any kernel makes up for: hours. More is a number, not a clock.
const MOST_TICKS: u64 = 1 << 24;
/// From one look to the next, while it is waited for signs of life.
const STEP: Duration = Duration::from_millis(50);

/// Where a kernel's clocks are, as its own symbol table says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Physical address of `jiffies_64`.
    jiffies: Option<PhysAddr>,
    /// Physical address of `tk_core`, whose first word is a sequence count.
    timekeeper: Option<PhysAddr>,
}

/// What the clocks showed at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    jiffies: Option<u64>,
    sequence: Option<u32>,
}

impl Pulse {
    /// The pulse of a kernel with these symbols, at physical addresses.
    pub(super) const fn new(jiffies: Option<PhysAddr>, timekeeper: Option<PhysAddr>) -> Self {
        Self { jiffies, timekeeper }
    }

    /// Looks at the clocks. What cannot be read shows nothing.
    #[must_use]
    pub fn look(&self, memory: &dyn Memory) -> Beat {
        let bytes = |at: Option<PhysAddr>, length| copy(memory, at?, length);
        Beat {
            jiffies: bytes(self.jiffies, 8).and_then(|bytes| u64_at(&bytes, 0)),
            sequence: bytes(self.timekeeper, 4).and_then(|bytes| u32_at(&bytes, 0)),
        }
    }
}

impl Beat {
    /// Whether a clock went on since an earlier look, as a clock does: forward, not by years.
    #[must_use]
    pub fn advanced_since(&self, before: &Self) -> bool {
        let ticks = self.jiffies.zip(before.jiffies).map(|(now, then)| now.wrapping_sub(then));
        let writes = self.sequence.zip(before.sequence);
        let writes = writes.map(|(now, then)| u64::from(now.wrapping_sub(then)));
        [ticks, writes].into_iter().flatten().any(|step| (1..=MOST_TICKS).contains(&step))
    }
}

/// Which of several kernels live: those whose clocks go on within `patience`. Ends early when all
/// of them do.
#[must_use]
pub fn living(memory: &dyn Memory, pulses: &[Pulse], patience: Duration) -> Vec<bool> {
    let begun = Instant::now();
    let first: Vec<Beat> = pulses.iter().map(|pulse| pulse.look(memory)).collect();
    let mut alive = vec![false; pulses.len()];
    while alive.contains(&false) && begun.elapsed() < patience {
        thread::sleep(STEP);
        for ((alive, pulse), first) in alive.iter_mut().zip(pulses).zip(&first) {
            *alive = *alive || pulse.look(memory).advanced_since(first);
        }
    }
    alive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(jiffies: u64, sequence: u32) -> Beat {
        Beat { jiffies: Some(jiffies), sequence: Some(sequence) }
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
}
