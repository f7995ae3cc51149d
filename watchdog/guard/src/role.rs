//! The role that the guard trusts, and how a command gives it up.
//!
//! The guard trusts every process that executed the watchdog's executable, because `run` and
//! `guard` need its tables. A command that takes file names from its caller would lend that trust
//! to the caller: root could use it to write files that the guard protects from root. So every
//! other command gives the role up before it reads an argument. `run` gives it up if it arms no
//! guard.
//!
//! The guard's programs do not trust a process that has a seccomp filter, and no process can ever
//! remove one. The filter here allows every system call: it only marks the process. The kernel runs
//! the filter once for each system call number (`seccomp_cache_prepare`, kernel/seccomp.c, 5.11).

use std::ffi::OsStr;
use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::thread::set_no_new_privs;

/// Whether a command needs the role. `command` is the first argument other than `-v`, as it stands.
/// Any other word than these two gives the role up, even if the parser later accepts it.
#[must_use]
pub fn is_needed_by(command: Option<&OsStr>) -> bool {
    command.is_some_and(|command| command == "run" || command == "guard")
}

/// Gives the role up for all threads of this process, and forever.
///
/// # Errors
/// When the kernel accepts no filter and the process is root's. For another user that is not an
/// error: the role allows that user nothing more. So another user can check dumps even in a sandbox
/// that accepts no filter.
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

/// Keeps all memory of this process out of swap, also later memory. Otherwise a process that can
/// write the disk could change pages before the kernel reads them back.
///
/// # Errors
/// When the kernel does not lock the memory: without CAP_IPC_LOCK.
pub fn lock_memory() -> io::Result<()> {
    // The first call reads everything back and locks it. Later mappings are locked page by page,
    // when the process touches them.
    mlockall(MlockAllFlags::CURRENT)?;
    Ok(mlockall(MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}

/// Installs a filter that allows everything.
fn install_filter() -> io::Result<()> {
    // Without this, only a process with CAP_SYS_ADMIN may install a filter.
    set_no_new_privs(true)?;
    let mut allow = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog { len: 1, filter: &raw mut allow };
    // Kernels before 5.16 slow a process with a filter down, unless it declares that it needs no
    // mitigation of its own speculation.
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

    /// Check that all threads have the filter afterwards, and that files can still be read.
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
            // A thread may have exited since the list was read.
            if let Ok(status) = fs::read_to_string(thread.path().join("status")) {
                assert_eq!(mode(status), "Seccomp:\t2");
            }
        }
    }
}
