//! The role that the guard trusts, and how a command gives it up.
//!
//! The guard trusts every process that executed the watchdog's executable, because `run` and
//! `guard` need its tables. A command that takes names of files from its caller would lend that
//! trust to whoever calls it: root could have it write what the guard keeps from root. So each
//! command but those two gives the role up before it reads an argument, and `run` gives it up
//! where it arms no guard.
//!
//! The guard's programs refuse a process that has a seccomp filter, and no process can ever take
//! one off. The filter here allows every system call: it is there to be seen by the guard. The
//! kernel runs it once for each system call that is new (`seccomp_cache_prepare`,
//! kernel/seccomp.c, 5.11).

use std::ffi::OsStr;
use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::thread::set_no_new_privs;

/// Whether a command needs the role. It is told by the first argument as it stands, `-v` left out:
/// everything that is not exactly one of these words gives the role up, whatever the parser makes
/// of it later.
#[must_use]
pub fn is_needed_by(command: Option<&OsStr>) -> bool {
    command.is_some_and(|command| command == "run" || command == "guard")
}

/// Gives the role up, for all threads of this process and for ever.
///
/// # Errors
/// When the kernel takes no filter, and the process is root's. Nobody else could do with the role
/// what his own leave does not let him do, so other users' dumps are judged in a sandbox as well.
pub fn give_up() -> io::Result<()> {
    match install_filter() {
        // SAFETY: geteuid has no preconditions.
        Err(error) if unsafe { libc::geteuid() } == 0 => Err(error),
        Err(error) => {
            log::debug!("no seccomp filter was installed: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Keeps the memory of this process out of swap, all that it has and will have: whoever owns the
/// disk could change there what the process reads back.
///
/// # Errors
/// When the kernel locks none, for want of CAP_IPC_LOCK.
pub fn lock_memory() -> io::Result<()> {
    // Read back first, then locked as it comes: what is mapped later need not all be there.
    mlockall(MlockAllFlags::CURRENT)?;
    Ok(mlockall(MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}

/// Installs a filter that allows everything.
fn install_filter() -> io::Result<()> {
    // Without it only CAP_SYS_ADMIN may install a filter.
    set_no_new_privs(true)?;
    let mut allow = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog { len: 1, filter: &raw mut allow };
    // Kernels before 5.16 slow a process with a filter down unless it says that it needs no
    // defence against its own speculation.
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `program` and the instruction that it points to outlive the call, which copies both.
    let installed = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    match installed {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} has another filter"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Check that only the exact words keep the role.
    #[test]
    fn exact_words() {
        let is_needed = |command: &str| is_needed_by(Some(OsStr::new(command)));
        assert!(is_needed("run") && is_needed("guard"));
        for other in ["", "Run", "run ", "scan", "baseline", "help", "--help", "guards", "-run"] {
            assert!(!is_needed(other), "{other}");
        }
        assert!(!is_needed_by(None));
    }

    /// Check that the filter is on afterwards, in other threads as well, and that files are read
    /// as before.
    #[test]
    fn a_filter_that_is_seen() {
        let mode = |status: String| {
            let line = status.lines().find(|line| line.starts_with("Seccomp:")).map(str::to_owned);
            line.expect("a line `Seccomp:`")
        };
        give_up().expect("given up");
        let own = fs::read_to_string("/proc/thread-self/status").expect("read");
        assert_eq!(mode(own), "Seccomp:\t2");
        for thread in fs::read_dir("/proc/self/task").expect("threads").flatten() {
            // A thread may have ended since.
            if let Ok(status) = fs::read_to_string(thread.path().join("status")) {
                assert_eq!(mode(status), "Seccomp:\t2");
            }
        }
    }
}
