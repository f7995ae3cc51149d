//! Calls that no program judged. The kernel skips a program at a function if a preempted thread is
//! inside it on the same processor. It counts these misses (`bpf_prog_inc_misses_counter()`,
//! kernel/bpf/syscall.c, 6.1 to 7.2).
//!
//! If a hook decides, it denies a call whose values were not saved. If only a program at a function
//! sees the call, the call is missed, and this file reports it.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::Program as Loaded;

use super::WritePath;
use super::processes::Processes;
use super::programs::attach_order;

/// The shortest time from one report of a path to the next.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The counts of programs whose misses no other program detects.
#[derive(Debug)]
pub(super) struct RecursionMisses(Vec<Counted>);

#[derive(Debug)]
struct Counted {
    path: WritePath,
    /// The guard's own descriptor, which lives longer than this.
    program: RawFd,
    reported: u64,
    at: Option<Instant>,
}

impl RecursionMisses {
    /// Starts to count for the programs that were loaded.
    pub(super) fn of(programs: &Ebpf) -> Self {
        let last = attach_order().into_iter().filter(|it| it.program.is_last);
        Self(
            last.filter_map(|last| {
                let path = *last.paths.first()?;
                let program = descriptor(programs.program(last.program.name)?)?;
                Some(Counted { path, program, reported: 0, at: None })
            })
            .collect(),
        )
    }

    /// How many calls were missed since the last report, by path. Each path is reported at most
    /// once per [`REPORT_INTERVAL`].
    pub(super) fn new_ones(&mut self) -> Vec<(WritePath, u64)> {
        let new = |counted: &mut Counted| {
            if counted.at.is_some_and(|at| at.elapsed() < REPORT_INTERVAL) {
                return None;
            }
            let info = format!("self/fdinfo/{}", counted.program);
            let info = Processes::of_machine()?.read(&info).ok()?;
            let now = misses(&info)?;
            let count = now.checked_sub(counted.reported).filter(|count| *count > 0)?;
            (counted.reported, counted.at) = (now, Some(Instant::now()));
            Some((counted.path, count))
        };
        self.0.iter_mut().filter_map(new).collect()
    }
}

/// The descriptor of a program, if it was loaded.
fn descriptor(program: &Loaded) -> Option<RawFd> {
    Some(program.fd().ok()?.as_fd().as_raw_fd())
}

/// Reads the count from a program's `/proc/PID/fdinfo/N` (`bpf_prog_show_fdinfo()`,
/// kernel/bpf/syscall.c).
fn misses(info: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the count is read, and that a text without it gives none.
    #[test]
    fn counts() {
        assert_eq!(misses("prog_id:\t7\nrecursion_misses:\t12\nverified_insns:\t9\n"), Some(12));
        assert_eq!(misses("prog_id:\t7\n"), None);
    }
}
