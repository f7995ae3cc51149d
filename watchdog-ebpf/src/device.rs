//! Paths `open` and `pci`: a process opens `/dev/mem` or `/dev/port` for writing. This program is
//! attached only if `bpf` is not an active LSM, because `file_open` never fires then.
//!
//! A cgroup device program on the root cgroup (`__cgroup_bpf_check_dev_permission()`,
//! kernel/bpf/cgroup.c, 6.1 to 7.2, called by `devcgroup_inode_permission()`): every process is in
//! it. Needs no LSM and no ftrace.
//!
//! The program judges an open before the kernel performs it, by the device's number. It cannot know
//! how the process will use the descriptor, so it denies all opens for writing, also by the
//! watchdog. It allows mknod, because a device node that no process can open does no harm. It may
//! not send signals. Fails open for descriptors from before it was attached.

use aya_ebpf::bindings::{BPF_DEVCG_ACC_WRITE, BPF_DEVCG_DEV_CHAR};
use aya_ebpf::macros::cgroup_device;
use aya_ebpf::programs::DeviceContext;
use watchdog_common::path;

use crate::access::Access;
use crate::structures::{DEV_MEM, DEV_PORT};

const ALLOWED: i32 = 1;
const DENIED: i32 = 0;
/// `MINORBITS` (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;
/// The access type is above the device type in `access_type`.
const ACCESS_SHIFT: u32 = 16;

/// Judges access to a device.
#[cgroup_device]
pub(crate) fn device(ctx: DeviceContext) -> i32 {
    // SAFETY: the kernel's own context, valid as long as the program runs; it may be read field by
    // field only.
    let (access, major, minor) = unsafe {
        let device = ctx.device;
        (
            core::ptr::read_volatile(&raw const (*device).access_type),
            core::ptr::read_volatile(&raw const (*device).major),
            core::ptr::read_volatile(&raw const (*device).minor),
        )
    };
    let kind = access & ((1 << ACCESS_SHIFT) - 1);
    let is_write = (access >> ACCESS_SHIFT) & BPF_DEVCG_ACC_WRITE != 0;
    let path = match (major << MINOR_BITS) | minor {
        DEV_MEM => path::OPEN,
        DEV_PORT => path::PCI,
        _ => return ALLOWED,
    };
    if kind != BPF_DEVCG_DEV_CHAR || !is_write || Access::to_resource(path, 0).only_deny() == 0 {
        ALLOWED
    } else {
        DENIED
    }
}
