//! What signals do to a command, where that is not what they do to every process.

use std::ffi::OsStr;
use std::io;

/// Signals that would end `run` without a word: nobody means that by them. One that says that a
/// file would get too large, or that the processor was had for too long, is an error of the call
/// or a matter of policy. SIGHUP, which `run` answers, is ignored until it does.
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

/// Settles what signals do, before anything else is done.
///
/// `run` is ended by SIGTERM and SIGINT, and by those that tell of a defect; it goes on when
/// nobody reads what it prints. Every other command ends by SIGPIPE then, silently, as programs do
/// whose output is piped into `head`.
///
/// # Errors
/// The operating system's: none is expected.
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
