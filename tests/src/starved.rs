//! How long threads of the host were ready to run and had no processor.
//!
//! What a test says of time must hold on a busy host as well: such waits are not the doing of what
//! is tested, and are taken off.

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

/// Of all threads of a process together.
///
/// # Errors
/// When there is no such process.
pub(crate) fn process(id: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).context("no such process")?;
    threads.map(|thread| of(&thread?.path())).sum()
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

    /// Check that of two threads that want one processor, one waits.
    #[test]
    fn waits_are_counted() {
        let before = process(std::process::id()).expect("this process");
        let spin = || {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(200) {
                std::hint::spin_loop();
            }
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let waited = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..=processors).map(|_| scope.spawn(spin)).collect();
            std::thread::sleep(Duration::from_millis(100));
            let waited = process(std::process::id()).expect("this process");
            drop(threads);
            waited
        });
        let keeps_account = fs::read_to_string("/proc/1/schedstat").is_ok();
        assert!(!keeps_account || waited > before, "{waited:?}");
    }
}
