//! How long an input may take.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use watchdog::locate::Search;

/// Processor time for one input, with coverage counters and the address sanitizer in it.
const LONGEST: Duration = Duration::from_secs(2);

/// How inputs are searched: on one thread, so that all work is under the bound.
#[must_use]
pub fn search() -> Search {
    Search { gentle: true, ..Search::default() }
}

/// Does what is fuzzed.
///
/// libFuzzer has a limit of its own, which ends what hangs; but that is by the clock, and on a
/// busy machine the clock says nothing about an input.
///
/// # Panics
/// When it takes more than two seconds of processor time.
pub fn bounded<T>(body: impl FnOnce() -> T) -> T {
    let begun = processor_time();
    let done = body();
    let elapsed = processor_time().saturating_sub(begun);
    assert!(elapsed <= LONGEST, "took {elapsed:.1?} of processor time");
    done
}

/// What this thread has had.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a clock that counts from zero")
}
