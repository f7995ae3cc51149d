//! Calls of bpf(2) that aya does not offer, or offers only with other work around them.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Commands and values of include/uapi/linux/bpf.h.
const OBJ_GET: libc::c_int = 7;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_NEXT_ID: libc::c_int = 11;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const ITER_CREATE: libc::c_int = 33;
/// `BPF_TRACE_ITER`.
const ITERATOR: u32 = 28;
const ALLOW_MULTI: u32 = 2;

/// What a program on a cgroup decides about (`enum bpf_attach_type`).
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

/// Opens a pinned object.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    descriptor(OBJ_GET, &ByPath { name: name.as_ptr() as u64, descriptor: 0, flags: 0 })
}

/// Opens the program with an id.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    descriptor(PROG_GET_FD_BY_ID, &ById { id, next: 0, flags: 0 })
}

/// Attaches a program to a cgroup, beside others and without a link. Only a process with a
/// descriptor of the program can detach it.
pub(super) fn attach_to_cgroup(
    cgroup: &File,
    program: BorrowedFd<'_>,
    hook: CgroupHook,
) -> io::Result<()> {
    call(PROG_ATTACH, &attachment(cgroup, program, hook, ALLOW_MULTI)).map(drop)
}

/// Detaches a program from a cgroup.
pub(super) fn detach_from_cgroup(
    cgroup: &File,
    program: BorrowedFd<'_>,
    hook: CgroupHook,
) -> io::Result<()> {
    call(PROG_DETACH, &attachment(cgroup, program, hook, 0)).map(drop)
}

/// `struct { __u32 prog_type; __u32 insn_cnt; … }`, up to `expected_attach_type`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    between: [u64; 7],
    index: u32,
    attach: u32,
}

/// `struct { __u32 bpf_fd; __u32 info_len; __aligned_u64 info; }`.
#[repr(C)]
struct Asked {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// Tries to load a program without instructions, of these types. The kernel asks security modules
/// first. If they allow it, the kernel refuses the program itself.
pub(super) fn load_nothing(kind: u32, attach: u32) -> io::Result<()> {
    call(PROG_LOAD, &Load { kind, count: 0, between: [0; 7], index: 0, attach }).map(drop)
}

/// Makes the kernel start a list that the program fills.
///
/// # Errors
/// The kernel's error. Also an error if the list came from another program: a process with a
/// descriptor of this kind of link can replace its program. No other process has a descriptor of
/// the guard's program, so none can put it back. The check after the list was made is therefore
/// enough.
pub(super) fn list(program: BorrowedFd<'_>) -> io::Result<File> {
    let number = program.as_raw_fd().cast_unsigned();
    let link = descriptor(LINK_CREATE, &[number, 0, ITERATOR, 0])?;
    let list = descriptor(ITER_CREATE, &[link.as_raw_fd().cast_unsigned(), 0])?;
    // `struct bpf_link_info` begins with type, id and program; `struct bpf_prog_info` with type and
    // id.
    let [_, _, linked, _] = info(link.as_fd())?;
    let [_, id, ..] = info(program)?;
    if linked != id {
        return Err(io::Error::other("another program replaced the guard's"));
    }
    Ok(File::from(list))
}

/// The first words of the kernel's information about an object.
fn info(object: BorrowedFd<'_>) -> io::Result<[u32; 4]> {
    let mut info = [0_u32; 4];
    ask(object, &mut info)?;
    Ok(info)
}

/// The name of a program: `name` in `struct bpf_prog_info`. All fields before it are 0, so the
/// kernel copies no further data.
pub(super) fn program_name(program: BorrowedFd<'_>) -> io::Result<String> {
    let mut info = [0_u8; 80];
    ask(program, &mut info)?;
    let name = info.split_at(64).1;
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn ask<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let descriptor = object.as_raw_fd().cast_unsigned();
    let length = u32::try_from(size_of::<T>()).unwrap_or_default();
    let info = (&raw mut *info) as u64;
    call(OBJ_GET_INFO_BY_FD, &Asked { descriptor, length, info }).map(drop)
}

/// The ids of all programs.
pub(super) fn programs() -> Vec<u32> {
    let mut all = Vec::new();
    let mut ids = ById { id: 0, next: 0, flags: 0 };
    // The kernel writes the next id into `next`.
    while call_at(PROG_GET_NEXT_ID, &raw mut ids).is_ok() {
        ids.id = ids.next;
        all.push(ids.id);
    }
    all
}

fn attachment(cgroup: &File, program: BorrowedFd<'_>, hook: CgroupHook, flags: u32) -> Attachment {
    let [target, program] = [cgroup.as_raw_fd(), program.as_raw_fd()].map(i32::cast_unsigned);
    Attachment { target, program, kind: hook as u32, flags, replaced: 0 }
}

fn descriptor<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    // SAFETY: the call made this descriptor, and no other code uses it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    call_at(command, (&raw const *attributes).cast_mut())
}

/// The same as [`call`], for attributes that the kernel may write.
fn call_at<T>(command: libc::c_int, attributes: *mut T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel uses no more bytes than the attributes have, and what they point to
    // outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    libc::c_int::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}
