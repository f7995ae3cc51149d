//! Path 25: unmounting the file system that holds the pins, or one above it.
//!
//! match-proto: `int bpf_lsm_sb_umount(struct vfsmount *, int)` (6.1 to 7.2). Needs `bpf` among the
//! active LSMs.
//!
//! Only mounts of the namespace that process 1 is in are kept: containers come and go with copies.
//! Fails open for a mount that cannot be read; the watchdog's own unmount, with flags that the
//! kernel refuses behind the hook, is the proof.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{file_kind, own};

use crate::judge;
use crate::kernel::{Object, dentry_key, field, offset};
use crate::own::{is_trusted, kind, reserve};

/// Judges an unmount.
#[lsm(hook = "sb_umount")]
pub(crate) fn sb_umount(ctx: LsmContext) -> i32 {
    let mount: Object = ctx.arg(0);
    if let Some(verdict) = judge::earlier(ctx.arg(2)) {
        return verdict;
    }
    let root = field::<Object>(mount, offset!(vfsmount_root)).unwrap_or(core::ptr::null());
    if kind(dentry_key(root)) != file_kind::MOUNT {
        return 0;
    }
    // `struct mount` around its `struct vfsmount` (`real_mount()`, fs/mount.h).
    let whole: Object = mount.wrapping_byte_sub(offset!(mount_vfsmount) as usize);
    let namespace = field::<Object>(whole, offset!(mount_namespace)).unwrap_or(core::ptr::null());
    let is_kept = field(namespace, offset!(namespace_number)) == Some(judge::mounts());
    if is_kept || is_trusted() { reserve(own::UNMOUNT, true) } else { 0 }
}
