//! Path 1: opening `/dev/mem` for writing; of path 9 opening `/dev/port`; of path 12 opening VFIO
//! or iommufd at all; of path 25 opening for writing what belongs to the guard; and of path 29
//! opening for writing what starts a processor.
//!
//! match-proto: `int bpf_lsm_file_open(struct file *)` (6.1 to 7.2). Needs `bpf` among the active
//! LSMs. The devices are known by their numbers, never by path: mknod and bind mounts make others.
//!
//! By default the first and the last are allowed: what is done with the descriptor is judged by
//! range. Who holds a lease may open `/dev/mem` whatever policy says of it. `/dev/iommu` of a
//! module that is loaded after the guard has a number that is not known here: open; the proof says
//! so.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{file_kind, path};

use crate::kernel::{DEV_MEM, DEV_PORT, Object, OpenFile};
use crate::{doors, identity, judge, lease, own, own_process, processors, rules};

/// `PROC_SUPER_MAGIC` (include/uapi/linux/magic.h).
const PROC: u64 = 0x9fa0;

/// Judges an open.
#[lsm(hook = "file_open")]
pub(crate) fn file_open(ctx: LsmContext) -> i32 {
    let file: Object = ctx.arg(0);
    if let Some(verdict) = judge::earlier(ctx.arg(1)) {
        return verdict;
    }
    // SAFETY: the hook's own argument, which the kernel never leaves out.
    let open = unsafe { OpenFile::argument(file) };
    let is_writable = open.is_writable();
    if !is_writable {
        own::learn(file);
        lease::learn(file);
    }
    let (path, is_judged) = match open.device() {
        Some(DEV_MEM) => (path::OPEN, is_writable),
        Some(DEV_PORT) => (path::PCI, is_writable),
        // Their descriptors take ioctl(2) however they were opened. Only looking is no reason to
        // tell of every virtual machine.
        Some(number) if doors::is_one(number) => (path::IOMMU, rules::refuses(path::IOMMU)),
        None if is_writable => return own(open),
        _ => return 0,
    };
    let is_left = || lease::allows_to_begin() || own::may_open();
    if !is_judged || (path == path::OPEN && is_left()) {
        return 0;
    }
    judge::always(path, 0)
}

/// Judges the writable open of a file: one that belongs to the guard; of the watchdog's control
/// group, by which it would be frozen, killed or starved; of the watchdog's own below `/proc`; or
/// one that starts a processor. The control group is process 1's to write: it thaws it whenever a
/// service stops.
#[inline(always)]
fn own(file: OpenFile) -> i32 {
    let (inode, kind) = file.inode();
    let folder = identity::kind(file.folder());
    if own::is_kept(file.key(), folder) {
        own::reserve(watchdog_common::own::OPEN, false)
    } else if folder == file_kind::CGROUP && !own::is_init() {
        own::reserve(watchdog_common::own::CGROUP, false)
    } else if kind == PROC && own_process::is_its(inode) {
        own::reserve(watchdog_common::own::PROC, false)
    } else if kind == processors::SYSFS && processors::is_switch(file.name()) {
        judge::always(path::PROCESSORS, 0)
    } else {
        0
    }
}
