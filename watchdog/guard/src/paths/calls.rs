//! System calls that the tests of paths use.

use std::io;

/// The result of a system call.
pub(super) fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
