//! How long threads of the host were ready to run and had no processor.
//!
//! What a test says of time must hold on a busy host as well: such waits are not the doing of what
//! is tested, and are taken off.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Of one thread.
///
/// # Errors
/// When there is no such thread. A kernel that does not keep account (`CONFIG_SCHED_INFO`) says
/// that none ever waited.
pub(crate) fn thread(id: u64) -> Result<Duration> {
    of(Path::new("/proc").join(id.to_string()).as_path())
}

/// Of each thread of a process.
pub struct Waits(BTreeMap<OsString, Duration>);

impl Waits {
    /// Of the threads that the process has now.
    ///
    /// # Errors
    /// When there is no such process.
    pub(crate) fn of_process(id: u32) -> Result<Self> {
        let threads = fs::read_dir(format!("/proc/{id}/task")).context("no such process")?;
        let waits = threads.map(|thread| {
            let thread = thread?;
            Ok((thread.file_name(), of(&thread.path())?))
        });
        Ok(Self(waits.collect::<Result<_>>()?))
    }

    /// How long the threads that are there now waited since then, all together. What one that has
    /// ended waited is not known.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Duration {
        let before = |thread| earlier.0.get(thread).copied().unwrap_or_default();
        self.0.iter().map(|(thread, waited)| waited.saturating_sub(before(thread))).sum()
    }
}

/// Reads `schedstat`: nanoseconds on a processor, nanoseconds waited for one, and how often
/// (Documentation/scheduler/sched-stats.rst).
fn of(thread: &Path) -> Result<Duration> {
    let Ok(text) = fs::read_to_string(thread.join("schedstat")) else { return Ok(Duration::ZERO) };
    let waited = text.split(' ').nth(1).context("schedstat has no second field")?;
    Ok(Duration::from_nanos(waited.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that of threads that want more processors than there are, one waits.
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

    /// Check that a thread which has ended takes nothing off what others waited, and that a new
    /// thread counts whole.
    #[test]
    fn threads_come_and_go() {
        let waits = |all: &[(&str, u64)]| {
            Waits(all.iter().map(|(id, n)| ((*id).into(), Duration::from_millis(*n))).collect())
        };
        let (before, after) = (waits(&[("1", 5), ("2", 900)]), waits(&[("1", 7), ("3", 10)]));
        assert_eq!(after.since(&before), Duration::from_millis(12));
    }
}
