//! Path 1: opening `/dev/mem` for writing; and of path 9 opening `/dev/port`.
//!
//! match-proto: `int bpf_lsm_file_open(struct file *)` (6.1 to 7.2). Needs `bpf` among the active
//! LSMs. The device is known by its number, never by its path: mknod and bind mounts make others.
//!
//! By default the first is allowed: what is done with the descriptor is judged by range. A file
//! whose mode cannot be read counts as writable: closed.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::path;

use crate::judge;
use crate::kernel::{DEV_MEM, DEV_PORT, Object, device, is_writable};

/// Judges an open.
#[lsm(hook = "file_open")]
pub(crate) fn file_open(ctx: LsmContext) -> i32 {
    let file: Object = ctx.arg(0);
    if let Some(verdict) = judge::earlier(ctx.arg(1)) {
        return verdict;
    }
    let path = match device(file) {
        Some(DEV_MEM) => path::OPEN,
        Some(DEV_PORT) => path::PCI,
        _ => return 0,
    };
    if is_writable(file) { judge::always(path, 0) } else { 0 }
}
