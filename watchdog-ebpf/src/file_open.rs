//! Path `open`: opening `/dev/mem` for writing; of path `pci` opening `/dev/port`; of path `iommu`
//! opening VFIO or iommufd at all; of path `self` opening for writing what belongs to the guard;
//! and of path `processors` opening for writing what starts a processor.
//!
//! match-proto: `int bpf_lsm_file_open(struct file *)` (6.1 to 7.2). Needs `bpf` among the active
//! LSMs. The devices are known by their numbers, never by path: mknod and bind mounts make others.
//!
//! By default the first and the last are allowed: what is done with the descriptor is judged by
//! range. Who holds a lease may open `/dev/mem` whatever policy says of it. `/dev/iommu` of a
//! module that is loaded after the guard has a number that is not known here: open; the self-test
//! says so.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{file_kind, path};

use crate::kernel::{DEV_MEM, DEV_PORT, Object, OpenFile};
use crate::{
    access, dma_devices, identity, lease, processors, rules, self_process, self_protection,
};

/// `PROC_SUPER_MAGIC` (include/uapi/linux/magic.h).
const PROC: u64 = 0x9fa0;

/// Judges an open.
#[lsm(hook = "file_open")]
pub(crate) fn file_open(ctx: LsmContext) -> i32 {
    let file: Object = ctx.arg(0);
    if let Some(verdict) = access::earlier(ctx.arg(1)) {
        return verdict;
    }
    // SAFETY: the hook's own argument, which the kernel never leaves out.
    let open = unsafe { OpenFile::argument(file) };
    let is_writable = open.is_writable();
    if !is_writable {
        self_protection::register_file(file);
        lease::register_executable(file);
    }
    let (path, is_judged) = match open.device() {
        Some(DEV_MEM) => (path::OPEN, is_writable),
        Some(DEV_PORT) => (path::PCI, is_writable),
        // Their descriptors take ioctl(2) however they were opened. Only looking is no reason to
        // report every virtual machine.
        Some(number) if dma_devices::contains(number) => (path::IOMMU, rules::refuses(path::IOMMU)),
        None if is_writable => return judge_file(open),
        _ => return 0,
    };
    let is_left = || lease::allows_to_begin() || self_protection::may_open();
    if !is_judged || (path == path::OPEN && is_left()) {
        return 0;
    }
    access::deny(path, 0)
}

/// Judges the writable open of a file: one that belongs to the guard; of the watchdog's control
/// group, by which it would be frozen, killed or starved; of the watchdog's own below `/proc`; or
/// one that starts a processor. The control group is process 1's to write: it thaws it whenever a
/// service stops.
#[inline(always)]
fn judge_file(file: OpenFile) -> i32 {
    let (inode, kind) = file.inode();
    let folder = identity::kind(file.folder());
    if self_protection::is_protected_file(file.key(), folder) {
        self_protection::deny_untrusted(watchdog_common::self_act::OPEN, false)
    } else if folder == file_kind::CGROUP && !self_protection::is_init() {
        self_protection::deny_untrusted(watchdog_common::self_act::CGROUP, false)
    } else if kind == PROC && self_process::is_its(inode) {
        self_protection::deny_untrusted(watchdog_common::self_act::PROC, false)
    } else if kind == processors::SYSFS && processors::is_switch(file.name()) {
        access::deny(path::PROCESSORS, 0)
    } else {
        0
    }
}
