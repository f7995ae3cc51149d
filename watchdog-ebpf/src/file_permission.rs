//! Path `write`: write(2), pwrite, writev, aio, io_uring on `/dev/mem`. Path `pci`: the same on
//! `/dev/port`, for descriptors from before the guard.
//!
//! match-proto: `int bpf_lsm_file_permission(struct file *, int)` (6.1 to 7.2). Needs `bpf` among
//! the active LSMs, and the position that `rw_verify_area` saved.
//!
//! Fails closed for `/dev/mem`: a write at an unknown position is refused. If policy denies, the
//! write first fails with EINTR, as after a signal, and the next try is judged. If the position is
//! still unknown after many tries, the write is denied like a write to a node. Writes to every
//! other file pass after three loads.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use aya_log_ebpf::debug;
use watchdog_common::{Range, path};

use crate::access::{Access, earlier};
use crate::arguments::FileArgument;
use crate::rules;
use crate::saved::{Call, take};
use crate::structures::{DEV_MEM, DEV_PORT};

/// `MAY_WRITE` and `MAY_APPEND` (include/linux/fs.h).
const MAY_WRITE: i32 = 2 | 8;

/// `EINTR` (include/uapi/asm-generic/errno-base.h).
const EINTR: i32 = 4;

/// Judges a write.
#[lsm(hook = "file_permission")]
pub(crate) fn file_permission(ctx: LsmContext) -> i32 {
    let mask: i32 = ctx.arg(1);
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    if mask & MAY_WRITE == 0 {
        return 0;
    }
    // SAFETY: the hook's argument, which the kernel never leaves out.
    let file = unsafe { FileArgument::new(ctx.arg(0)) };
    match file.device() {
        Some(DEV_MEM) => {}
        Some(DEV_PORT) => return Access::to_resource(path::PCI, 0).deny(),
        _ => return 0,
    }
    let saved = match take(file) {
        Call::Known(saved) => Some(saved),
        Call::Again if rules::refuses(path::WRITE) => return -EINTR,
        Call::Again | Call::Unknown => None,
    };
    if saved.is_none() {
        debug!(&ctx, "a write to /dev/mem at an unknown position");
    }
    let end = saved.and_then(|saved| saved.at.checked_add(saved.bytes));
    let range = saved.zip(end).map(|(saved, end)| Range { start: saved.at, end });
    Access::to_memory(path::WRITE, range).deny()
}
