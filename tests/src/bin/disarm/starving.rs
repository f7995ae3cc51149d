//! Attacks on what the watchdog needs: processor, disk, memory, and access to its files.

use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use watchdog_tests::errno::checked;

/// The lowest priority of a process.
const LAST: i32 = 19;

/// Sets the lowest priority by setpriority(2).
pub(crate) fn nice(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, pid.cast_unsigned(), LAST) };
    checked(result.into()).map(drop)
}

/// Sets the class that reads only when the disk is otherwise idle, by ioprio_set(2).
pub(crate) fn io_priority(pid: i32) -> io::Result<()> {
    /// `IOPRIO_WHO_PROCESS` and `IOPRIO_CLASS_IDLE`, shifted (include/uapi/linux/ioprio.h).
    const PROCESS: i32 = 1;
    const IDLE: i32 = 3 << 13;
    // SAFETY: takes numbers.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, pid, IDLE) }).map(drop)
}

/// Makes the process the first to be killed when memory runs out.
pub(crate) fn oom_score(pid: i32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/oom_score_adj"), "1000")
}

/// Sets the niceness of the process's whole session.
pub(crate) fn autogroup(pid: i32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/autogroup"), LAST.to_string())
}

/// Takes all permissions away by chmod(2), and restores them if that succeeded.
pub(crate) fn mode(file: &Path) -> io::Result<()> {
    let before = fs::metadata(file)?.permissions();
    fs::set_permissions(file, Permissions::from_mode(0o0))?;
    fs::set_permissions(file, before)
}

/// Changes the owner by chown(2), and restores it if that succeeded.
pub(crate) fn owner(file: &Path) -> io::Result<()> {
    const NOBODY: u32 = 65534;
    let before = fs::metadata(file)?.uid();
    chown(file, Some(NOBODY), None)?;
    chown(file, Some(before), None)
}

/// Sets an ACL that takes away the right to execute a file, whatever its mode.
pub(crate) fn acl(file: &Path) -> io::Result<()> {
    // `POSIX_ACL_XATTR_VERSION`, then tag, permissions and id of each entry
    // (include/uapi/linux/posix_acl_xattr.h): owner, group, others.
    let entry = |tag: u16, may: u16| [tag.to_le_bytes(), may.to_le_bytes(), [0xff; 2], [0xff; 2]];
    let entries = [entry(0x01, 6), entry(0x04, 0), entry(0x20, 0)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    value.extend(entries.as_flattened().as_flattened());
    attribute(file, c"system.posix_acl_access", &value)
}

/// Sets an extended attribute by setxattr(2).
pub(crate) fn attribute(file: &Path, name: &CStr, value: &[u8]) -> io::Result<()> {
    let file = CString::new(file.as_os_str().as_bytes())?;
    let (bytes, size) = (value.as_ptr().cast(), value.len());
    // SAFETY: the kernel reads both names and the value.
    checked(unsafe { libc::setxattr(file.as_ptr(), name.as_ptr(), bytes, size, 0) }.into())
        .map(drop)
}
