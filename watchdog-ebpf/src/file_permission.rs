//! Path 3: write(2), pwrite, writev, aio, io_uring on `/dev/mem`.
//!
//! match-proto: `int bpf_lsm_file_permission(struct file *, int)` (6.1 to 7.2). Needs `bpf` among
//! the active LSMs, and what `rw_verify_area` saved.
//!
//! Fails closed for `/dev/mem`: a write whose position is not known is denied. Every other file is
//! let through after two reads of kernel memory.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use aya_log_ebpf::debug;
use watchdog_common::{Range, path};

use crate::judge;
use crate::kernel::{Object, is_dev_mem};
use crate::saved::{Call, take};

/// `MAY_WRITE` and `MAY_APPEND` (include/linux/fs.h).
const MAY_WRITE: i32 = 2 | 8;

/// Judges a write.
#[lsm(hook = "file_permission")]
pub(crate) fn file_permission(ctx: LsmContext) -> i32 {
    let file: Object = ctx.arg(0);
    let mask: i32 = ctx.arg(1);
    if let Some(verdict) = judge::earlier(ctx.arg(2)) {
        return verdict;
    }
    if mask & MAY_WRITE == 0 || !is_dev_mem(file) {
        return 0;
    }
    let saved = take(Call::Write, file);
    if saved.is_none() {
        debug!(&ctx, "a write to /dev/mem at an unknown position");
    }
    let end = saved.and_then(|saved| saved.at.checked_add(saved.bytes));
    judge::write(path::WRITE, saved.zip(end).map(|(saved, end)| Range { start: saved.at, end }))
}
