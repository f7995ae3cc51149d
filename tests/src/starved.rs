//! How long threads of the host were ready to run and had no processor.
//!
//! Time limits in tests must also hold on a busy host. The tested program does not cause these
//! waits, so the tests subtract them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Returns the wait of one thread.
///
/// # Errors
/// If there is no such thread. On a kernel without accounting (`CONFIG_SCHED_INFO`), every wait is
/// zero.
pub(crate) fn thread(id: u64) -> Result<Duration> {
    of(Path::new("/proc").join(id.to_string()).as_path())
}

/// Waits of each thread of a process.
pub struct Waits(BTreeMap<OsString, Duration>);

impl Waits {
    /// Reads the waits of the threads that the process has now.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn of_process(id: u32) -> Result<Self> {
        let threads = fs::read_dir(format!("/proc/{id}/task")).context("no such process")?;
        let waits = threads.map(|thread| {
            let thread = thread?;
            Ok((thread.file_name(), of(&thread.path())?))
        });
        Ok(Self(waits.collect::<Result<_>>()?))
    }

    /// Returns the total wait of the current threads since `earlier`. The waits of threads that
    /// have ended are unknown.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Duration {
        let before = |thread| earlier.0.get(thread).copied().unwrap_or_default();
        self.0.iter().map(|(thread, waited)| waited.saturating_sub(before(thread))).sum()
    }
}

/// Reads `schedstat`: nanoseconds on a processor, nanoseconds of waiting for one, and the number of
/// time slices (Documentation/scheduler/sched-stats.rst).
fn of(thread: &Path) -> Result<Duration> {
    let Ok(text) = fs::read_to_string(thread.join("schedstat")) else { return Ok(Duration::ZERO) };
    let waited = text.split(' ').nth(1).context("schedstat has no second field")?;
    Ok(Duration::from_nanos(waited.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that one thread waits if the threads want more processors than there are.
    #[test]
    fn waits_are_counted() {
        let now = || Waits::of_process(std::process::id()).expect("this process");
        let before = now();
        let spin = || {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(200) {
                std::hint::spin_loop();
            }
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let during = std::thread::scope(|scope| {
            (0..=processors).for_each(|_| drop(scope.spawn(spin)));
            std::thread::sleep(Duration::from_millis(100));
            now()
        });
        let keeps_account = fs::read_to_string("/proc/1/schedstat").is_ok();
        assert!(!keeps_account || during.since(&before) > Duration::ZERO);
    }

    /// Check that a thread that has ended does not reduce the waits of others, and that a new
    /// thread counts in full.
    #[test]
    fn threads_come_and_go() {
        let waits = |all: &[(&str, u64)]| {
            Waits(all.iter().map(|(id, n)| ((*id).into(), Duration::from_millis(*n))).collect())
        };
        let (before, after) = (waits(&[("1", 5), ("2", 900)]), waits(&[("1", 7), ("3", 10)]));
        assert_eq!(after.since(&before), Duration::from_millis(12));
    }
}
