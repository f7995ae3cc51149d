//! The signals whose effect on a command differs from the default.

use std::ffi::OsStr;
use std::io;

/// Signals that `run` ignores. By default each of them would end `run` silently, which no sender
/// intends. SIGXFSZ reports a file that would become too large, and the call fails with an error
/// anyway. SIGXCPU reports the use of much processor time, which is a matter of policy. SIGHUP is
/// ignored until `run` handles it.
const IGNORED: [i32; 11] = [
    libc::SIGHUP,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGPIPE,
];

/// Sets the actions of signals. A command calls this first.
///
/// SIGTERM, SIGINT and signals that report a defect end `run`. A closed pipe does not: `run`
/// ignores SIGPIPE. SIGPIPE ends every other command silently, as is usual for programs with output
/// piped into `head`.
///
/// # Errors
/// The operating system's error. None is expected.
pub fn settle(command: Option<&OsStr>) -> io::Result<()> {
    if command.is_none_or(|command| command != "run") {
        return set(libc::SIGPIPE, libc::SIG_DFL);
    }
    IGNORED
        .into_iter()
        .chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
        .try_for_each(|signal| set(signal, libc::SIG_IGN))
}

fn set(signal: i32, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: neither action runs any code of this program.
    let before = unsafe { libc::signal(signal, action) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}
