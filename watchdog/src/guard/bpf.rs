//! The few calls of bpf(2) that aya does not offer, or hides behind more than is wanted.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Commands and values of include/uapi/linux/bpf.h.
const OBJ_GET: libc::c_int = 7;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const ALLOW_MULTI: u32 = 2;

/// What a program on a cgroup is asked about (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CgroupHook {
    Device = 6,
    Settings = 18,
}

/// `struct { __aligned_u64 pathname; __u32 bpf_fd; __u32 file_flags; }` of `union bpf_attr`.
#[repr(C)]
struct ByPath {
    name: u64,
    descriptor: u32,
    flags: u32,
}

/// `struct { __u32 prog_id; __u32 next_id; __u32 open_flags; }`.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// `struct { __u32 target_fd, attach_bpf_fd, attach_type, attach_flags, replace_bpf_fd; }`.
#[repr(C)]
struct Attachment {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// Opens what is pinned at a path.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    descriptor(OBJ_GET, &ByPath { name: name.as_ptr() as u64, descriptor: 0, flags: 0 })
}

/// Opens the program of an id.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    descriptor(PROG_GET_FD_BY_ID, &ById { id, next: 0, flags: 0 })
}

/// Attaches a program to a cgroup, beside others and without a link: only who has the program can
/// detach it.
pub(super) fn attach_to_cgroup(
    cgroup: &File,
    program: BorrowedFd<'_>,
    hook: CgroupHook,
) -> io::Result<()> {
    call(PROG_ATTACH, &attachment(cgroup, program, hook, ALLOW_MULTI)).map(drop)
}

/// Detaches it.
pub(super) fn detach_from_cgroup(
    cgroup: &File,
    program: BorrowedFd<'_>,
    hook: CgroupHook,
) -> io::Result<()> {
    call(PROG_DETACH, &attachment(cgroup, program, hook, 0)).map(drop)
}

fn attachment(cgroup: &File, program: BorrowedFd<'_>, hook: CgroupHook, flags: u32) -> Attachment {
    let [target, program] = [cgroup.as_raw_fd(), program.as_raw_fd()].map(i32::cast_unsigned);
    Attachment { target, program, kind: hook as u32, flags, replaced: 0 }
}

fn descriptor<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    // SAFETY: the call made this descriptor, which nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads no more than the attributes' size; what they point to outlives the
    // call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    libc::c_int::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}
