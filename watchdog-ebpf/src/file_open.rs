//! Path 1: opening `/dev/mem` for writing; of path 9 opening `/dev/port`; of path 12 opening VFIO
//! or iommufd at all.
//!
//! match-proto: `int bpf_lsm_file_open(struct file *)` (6.1 to 7.2). Needs `bpf` among the active
//! LSMs. The device is known by its number, never by its path: mknod and bind mounts make others.
//!
//! By default the first and the last are allowed: what is done with the descriptor is judged by
//! range. A file whose mode cannot be read counts as writable: closed. `/dev/iommu` of a module that
//! is loaded after the guard has a number that is not known here: open; the proof says so.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::path;

use crate::kernel::{DEV_MEM, DEV_PORT, Object, device, is_writable};
use crate::{doors, judge};

/// Judges an open.
#[lsm(hook = "file_open")]
pub(crate) fn file_open(ctx: LsmContext) -> i32 {
    let file: Object = ctx.arg(0);
    if let Some(verdict) = judge::earlier(ctx.arg(1)) {
        return verdict;
    }
    let (path, is_judged) = match device(file) {
        Some(DEV_MEM) => (path::OPEN, is_writable(file)),
        Some(DEV_PORT) => (path::PCI, is_writable(file)),
        // Their descriptors take ioctl(2) however they were opened. Only looking is no reason to
        // tell of every virtual machine.
        Some(number) if doors::is_one(number) => (path::IOMMU, judge::refuses(path::IOMMU)),
        _ => return 0,
    };
    if is_judged { judge::always(path, 0) } else { 0 }
}
