//! Path `open`: a process opens `/dev/mem` for writing. The program also judges opens of other
//! paths. Path `pci`: `/dev/port` for writing. Path `self`: files of the guard for writing. Path
//! `processors`: files that start a processor, for writing. Path `iommu`: VFIO and iommufd in any
//! mode.
//!
//! match-proto: `int bpf_lsm_file_open(struct file *)` (6.1 to 7.2). Needs `bpf` among the active
//! LSMs. Devices are identified by number, never by path: mknod and bind mounts give them other
//! paths.
//!
//! The preset `standard` allows opening `/dev/mem`: other programs judge each use by range. A
//! process with a lease may open `/dev/mem` under every policy. Fails open for `/dev/iommu` if its
//! module is loaded after the guard: its number is not known here. The self-test reports that.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{file_kind, path, self_act};

use crate::access::{Access, earlier};
use crate::arguments::FileArgument;
use crate::pointer::Structure;
use crate::structures::{DEV_MEM, DEV_PORT, Dentry};
use crate::{dma_devices, identity, lease, processors, rules, self_process, self_protection};

/// `PROC_SUPER_MAGIC` (include/uapi/linux/magic.h).
const PROC: u64 = 0x9fa0;

/// Judges an open.
#[lsm(hook = "file_open")]
pub(crate) fn file_open(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(1)) {
        return verdict;
    }
    // SAFETY: the hook's argument, which the kernel never leaves out.
    let file = unsafe { FileArgument::new(ctx.arg(0)) };
    let is_writable = file.is_writable();
    if !is_writable {
        self_protection::register_file(file);
        lease::register_executable(file);
    }
    let (path, is_judged) = match file.device() {
        Some(DEV_MEM) => (path::OPEN, is_writable),
        Some(DEV_PORT) => (path::PCI, is_writable),
        // A descriptor of these devices accepts ioctl(2) in every mode. A policy that only observes
        // would report every virtual machine.
        Some(number) if dma_devices::contains(number) => (path::IOMMU, rules::refuses(path::IOMMU)),
        None if is_writable => return judge_file(file),
        _ => return 0,
    };
    let is_left = || lease::allows_to_begin() || self_protection::may_open();
    if !is_judged || (path == path::OPEN && is_left()) {
        return 0;
    }
    Access::to_resource(path, 0).deny()
}

/// Judges the writable open of a file. These are denied: a file of the guard; a file of the
/// watchdog's control group, which can freeze, kill or starve the watchdog; one of its files below
/// `/proc`; and a file that starts a processor. Process 1 may write the control group: it thaws the
/// group whenever a service stops.
#[inline(always)]
fn judge_file(file: FileArgument) -> i32 {
    let inode = file.inode();
    let file_system = inode.file_system();
    let folder = identity::kind(file.folder());
    if self_protection::is_protected_file(inode.key(), folder) {
        self_protection::deny_untrusted(self_act::OPEN, false)
    } else if folder == file_kind::CGROUP && !self_protection::is_init() {
        self_protection::deny_untrusted(self_act::CGROUP, false)
    } else if file_system == PROC && self_process::is_its(inode) {
        self_protection::deny_untrusted(self_act::PROC, false)
    } else if file_system == processors::SYSFS
        && Dentry::at(file.dentry().object()).is_some_and(processors::is_switch)
    {
        Access::to_resource(path::PROCESSORS, 0).deny()
    } else {
        0
    }
}
