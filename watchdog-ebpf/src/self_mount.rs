//! Path `self`: changes of mounts. The pins exist as long as their file system is mounted or open
//! somewhere. The next watchdog reads its configuration and baselines where they are mounted. So no
//! process may unmount or move these, or mount another file system over them.
//!
//! match-proto: `int bpf_lsm_sb_umount(struct vfsmount *, int)`, `int bpf_lsm_sb_mount(const char
//! *, const struct path *, const char *, unsigned long, void *)`, `int bpf_lsm_move_mount(const
//! struct path *, const struct path *)`, `int bpf_lsm_sb_pivotroot(const struct path *, const
//! struct path *)` (6.1 to 7.2). Needs `bpf` among the active LSMs.
//!
//! The programs protect the mounts in the namespace of process 1. They also protect shared mounts
//! in any namespace, because a change of a shared mount propagates
//! (Documentation/filesystems/sharedsubtree.rst, 6.12). Containers have copies that are not shared,
//! and may change these. In the namespace of process 1, mount(2) may not move any mount, because
//! the hook does not get the source. Usually only a change of the root moves mounts. No hook sees a
//! change of sharing (mount_setattr(2)), but that gains nothing by itself.
//!
//! Fails open for a mount that cannot be read. The probe is an unmount by the watchdog, with flags
//! that the kernel refuses after the hook.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{FileKey, file_kind, self_act};

use crate::access::earlier;
use crate::arguments::PathArgument;
use crate::identity::{is_trusted, kind};
use crate::pointer::Structure;
use crate::rules;
use crate::self_protection::{deny_untrusted, is_init};
use crate::structures::{Dentry, Mount, MountNamespace, VfsMount};

/// `MS_REMOUNT`, `MS_BIND`, `MS_MOVE`, and those that change how a mount is shared
/// (include/uapi/linux/mount.h).
const REMOUNT: u64 = 1 << 5;
const BIND: u64 = 1 << 12;
const MOVE: u64 = 1 << 13;
const SHARING: u64 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;

/// Judges an unmount. Process 1 may unmount file systems with protected files: it does so when the
/// machine shuts down.
#[lsm(hook = "sb_umount")]
pub(crate) fn sb_umount(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    let vfsmount = VfsMount::at(ctx.arg(0));
    let mount = vfsmount.and_then(VfsMount::mount);
    let reaches_init = || reaches_init(mount, mount.and_then(Mount::parent));
    let root = vfsmount.and_then(VfsMount::root);
    match kind(root.map_or(FileKey::NONE, Dentry::key)) {
        file_kind::MOUNT if reaches_init() || is_trusted() => {
            deny_untrusted(self_act::UNMOUNT, true)
        }
        file_kind::ABOVE | file_kind::PROTECTED if reaches_init() && !is_init() => {
            deny_untrusted(self_act::UNMOUNT, false)
        }
        _ => 0,
    }
}

/// Judges mount(2): a mount over a protected file or a folder above it, or a move.
#[lsm(hook = "sb_mount")]
pub(crate) fn sb_mount(ctx: LsmContext) -> i32 {
    // SAFETY: the hook's argument, which the kernel never leaves out.
    let (path, flags) = (unsafe { PathArgument::new(ctx.arg(1)) }, ctx.arg::<u64>(3));
    if let Some(verdict) = earlier(ctx.arg(5)) {
        return verdict;
    }
    // With several flags, the first of these decides: remount, bind, sharing, move (`path_mount()`,
    // fs/namespace.c, 6.1 to 7.2).
    let changes_sharing = flags & SHARING != 0 && flags & BIND == 0;
    if flags & REMOUNT != 0 || changes_sharing {
        return 0;
    }
    let mount = mount_of(path);
    let is_moved = flags & (BIND | MOVE) == MOVE && is_of_init(mount);
    let is_hidden = hides(path) && reaches_init(mount, mount);
    if is_moved || is_hidden { deny_untrusted(self_act::MOUNT, false) } else { 0 }
}

/// Judges move_mount(2), which also attaches a mount from fsmount(2).
#[lsm(hook = "move_mount")]
pub(crate) fn move_mount(ctx: LsmContext) -> i32 {
    // SAFETY: the hook's arguments, which the kernel never leaves out.
    let (from, to) = unsafe { (PathArgument::new(ctx.arg(0)), PathArgument::new(ctx.arg(1))) };
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    let is_moved = is_of_init(mount_of(from)) && hides(from);
    let is_hidden = hides(to) && reaches_init(mount_of(to), mount_of(to));
    if is_moved || is_hidden { deny_untrusted(self_act::MOUNT, false) } else { 0 }
}

/// Judges a change of the root, which moves all mounts.
#[lsm(hook = "sb_pivotroot")]
pub(crate) fn sb_pivotroot(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    // SAFETY: the hook's argument, which the kernel never leaves out.
    let old_root = unsafe { PathArgument::new(ctx.arg(1)) };
    if is_of_init(mount_of(old_root)) { deny_untrusted(self_act::MOUNT, false) } else { 0 }
}

/// Whether a mount at this path would hide a file of the guard: the path is such a file, a folder
/// above one, or in a protected folder.
#[inline(always)]
fn hides(path: PathArgument) -> bool {
    let entry = path.dentry();
    let is_in = matches!(kind(entry.folder()), file_kind::PROTECTED | file_kind::PINS);
    is_in || kind(entry.key()) != file_kind::NONE
}

#[inline(always)]
fn mount_of(path: PathArgument) -> Option<Mount> {
    path.mount()?.mount()
}

/// Whether a change of a mount reaches the namespace of process 1: the mount is in it, or the
/// change propagates because the mount below is shared.
#[inline(always)]
fn reaches_init(mount: Option<Mount>, on: Option<Mount>) -> bool {
    is_of_init(mount) || on.and_then(Mount::group).unwrap_or(1) != 0
}

/// Whether a mount is in the namespace of process 1.
#[inline(always)]
fn is_of_init(mount: Option<Mount>) -> bool {
    // This compares numbers and no `Option`s, because each branch multiplies the states that the
    // verifier follows.
    let namespace = mount.and_then(Mount::namespace).and_then(MountNamespace::number);
    namespace.unwrap_or(0) == rules::init_mnt_ns()
}
