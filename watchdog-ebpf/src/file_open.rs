//! Path 1: opening `/dev/mem` for writing.
//!
//! match-proto: `int bpf_lsm_file_open(struct file *)` (6.1 to 7.2). Needs `bpf` among the active
//! LSMs. The device is known by its number, never by its path: mknod and bind mounts make others.
//!
//! Allows unless the configuration says `open = "deny"`: what is done with the descriptor is
//! judged by range. A file whose mode cannot be read counts as writable: closed.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{Range, path};

use crate::judge;
use crate::kernel::{Object, is_dev_mem, is_writable};

/// Judges an open.
#[lsm(hook = "file_open")]
pub(crate) fn file_open(ctx: LsmContext) -> i32 {
    let file: Object = ctx.arg(0);
    if let Some(verdict) = judge::earlier(ctx.arg(1)) {
        return verdict;
    }
    if !judge::denies_open() || !is_dev_mem(file) || !is_writable(file) {
        return 0;
    }
    // The watchdog's own attempt is its proof; there is no range yet that could tell it apart.
    judge::deny(path::OPEN, Range { start: 0, end: 0 }, true)
}
