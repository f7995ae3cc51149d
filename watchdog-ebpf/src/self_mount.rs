//! Path `self`: mounts. The pins live as long as their file system is mounted or open somewhere,
//! and the next watchdog reads its configuration and baselines where they are mounted: neither is
//! unmounted, moved or hidden below another file system.
//!
//! match-proto: `int bpf_lsm_sb_umount(struct vfsmount *, int)`, `int bpf_lsm_sb_mount(const char
//! *, const struct path *, const char *, unsigned long, void *)`, `int bpf_lsm_move_mount(const
//! struct path *, const struct path *)`, `int bpf_lsm_sb_pivotroot(const struct path *, const
//! struct path *)` (6.1 to 7.2). Needs `bpf` among the active LSMs.
//!
//! Only mounts of the namespace that process 1 is in are kept, and such as are shared with others:
//! what is done in another namespace then happens there too
//! (Documentation/filesystems/sharedsubtree.rst, 6.12). Containers come and go with copies that are
//! not. In the first nothing at all is moved by mount(2): the hook is not told what, and only a
//! change of the root does so. Whether a mount is shared is asked of no hook (mount_setattr(2));
//! who changes it in the namespace of process 1 gains nothing by that alone.
//!
//! Fails open for a mount that cannot be read; the watchdog's own unmount, with flags that the
//! kernel refuses behind the hook, is the probe.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{file_kind, self_act};

use crate::identity::{is_trusted, kind};
use crate::kernel::{Object, dentry_key, field, offset};
use crate::self_protection::{deny_untrusted, is_init};
use crate::{access, rules};

/// `MS_REMOUNT`, `MS_BIND`, `MS_MOVE`, and those that change how a mount is shared
/// (include/uapi/linux/mount.h).
const REMOUNT: u64 = 1 << 5;
const BIND: u64 = 1 << 12;
const MOVE: u64 = 1 << 13;
const SHARING: u64 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;

/// Judges an unmount. What is above protected files may go when the machine is shut down, by
/// process 1.
#[lsm(hook = "sb_umount")]
pub(crate) fn sb_umount(ctx: LsmContext) -> i32 {
    let mount: Object = ctx.arg(0);
    if let Some(verdict) = access::earlier(ctx.arg(2)) {
        return verdict;
    }
    let root = field::<Object>(mount, offset!(vfsmount_root)).unwrap_or(core::ptr::null());
    match kind(dentry_key(root)) {
        file_kind::MOUNT if reaches_init(mount, parent(mount)) || is_trusted() => {
            deny_untrusted(self_act::UNMOUNT, true)
        }
        file_kind::ABOVE | file_kind::PROTECTED
            if reaches_init(mount, parent(mount)) && !is_init() =>
        {
            deny_untrusted(self_act::UNMOUNT, false)
        }
        _ => 0,
    }
}

/// Judges mount(2): something mounted over what is protected or above it, or moved.
#[lsm(hook = "sb_mount")]
pub(crate) fn sb_mount(ctx: LsmContext) -> i32 {
    let (path, flags): (Object, u64) = (ctx.arg(1), ctx.arg(3));
    if let Some(verdict) = access::earlier(ctx.arg(5)) {
        return verdict;
    }
    // Of several flags the first of these counts: remount, bind, sharing, move (`path_mount()`,
    // fs/namespace.c, 6.1 to 7.2).
    let changes_sharing = flags & SHARING != 0 && flags & BIND == 0;
    if flags & REMOUNT != 0 || changes_sharing {
        return 0;
    }
    let mount = mount_of(path);
    let is_moved = flags & (BIND | MOVE) == MOVE && is_of_init(mount);
    let is_hidden = hides(path) && reaches_init(mount, whole(mount));
    if is_moved || is_hidden { deny_untrusted(self_act::MOUNT, false) } else { 0 }
}

/// Judges move_mount(2), which also puts in place what fsmount(2) made.
#[lsm(hook = "move_mount")]
pub(crate) fn move_mount(ctx: LsmContext) -> i32 {
    let (from, to): (Object, Object) = (ctx.arg(0), ctx.arg(1));
    if let Some(verdict) = access::earlier(ctx.arg(2)) {
        return verdict;
    }
    let is_moved = is_of_init(mount_of(from)) && hides(from);
    let is_hidden = hides(to) && reaches_init(mount_of(to), whole(mount_of(to)));
    if is_moved || is_hidden { deny_untrusted(self_act::MOUNT, false) } else { 0 }
}

/// Judges another root, which takes everything with it.
#[lsm(hook = "sb_pivotroot")]
pub(crate) fn sb_pivotroot(ctx: LsmContext) -> i32 {
    if let Some(verdict) = access::earlier(ctx.arg(2)) {
        return verdict;
    }
    if is_of_init(mount_of(ctx.arg(1))) { deny_untrusted(self_act::MOUNT, false) } else { 0 }
}

/// Whether a path is one of the guard's, above one, or in a folder that it keeps: what is mounted
/// there hides it.
#[inline(always)]
fn hides(path: Object) -> bool {
    let entry = field::<Object>(path, offset!(path_dentry)).unwrap_or(core::ptr::null());
    let folder = field::<Object>(entry, offset!(dentry_parent)).unwrap_or(core::ptr::null());
    let is_in = matches!(kind(dentry_key(folder)), file_kind::PROTECTED | file_kind::PINS);
    is_in || kind(dentry_key(entry)) != 0
}

#[inline(always)]
fn mount_of(path: Object) -> Object {
    field(path, offset!(path_mount)).unwrap_or(core::ptr::null())
}

/// Whether a change at a `struct vfsmount` is one in the namespace that process 1 is in, or, since
/// the `struct mount` that it is made on is shared, may become one.
#[inline(always)]
fn reaches_init(mount: Object, on: Object) -> bool {
    is_of_init(mount) || field::<u32>(on, offset!(mount_group)).unwrap_or(1) != 0
}

/// Whether a `struct vfsmount` is in the namespace that process 1 is in.
#[inline(always)]
fn is_of_init(mount: Object) -> bool {
    let namespace =
        field::<Object>(whole(mount), offset!(mount_namespace)).unwrap_or(core::ptr::null());
    // Numbers, not whether there are any: the verifier follows each branch with what the others
    // left.
    field::<u32>(namespace, offset!(namespace_number)).unwrap_or(0) == rules::init_mnt_ns()
}

/// The `struct mount` that a `struct vfsmount` is mounted on.
#[inline(always)]
fn parent(mount: Object) -> Object {
    field(whole(mount), offset!(mount_parent)).unwrap_or(core::ptr::null())
}

/// The `struct mount` around a `struct vfsmount` (`real_mount()`, fs/mount.h).
#[inline(always)]
fn whole(mount: Object) -> Object {
    mount.wrapping_byte_sub(offset!(mount_vfsmount) as usize)
}
