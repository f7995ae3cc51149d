//! Path `write`: write(2), pwrite, writev, aio, io_uring on `/dev/mem`. Of path `pci` the same on
//! `/dev/port`, of which there may be descriptors from before the guard.
//!
//! match-proto: `int bpf_lsm_file_permission(struct file *, int)` (6.1 to 7.2). Needs `bpf` among
//! the active LSMs, and what `rw_verify_area` saved.
//!
//! Fails closed for `/dev/mem`: a write whose position is not known is refused. Where policy
//! refuses anything it is to be tried again, as after a signal (EINTR): nothing can be said of it,
//! and the next try is judged. If the position is still not known after many tries, the write is
//! denied as one to a node. Every other file is let through after three loads.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use aya_log_ebpf::debug;
use watchdog_common::{Range, path};

use crate::kernel::{DEV_MEM, DEV_PORT, Object, OpenFile};
use crate::saved::{Call, take};
use crate::{access, rules};

/// `MAY_WRITE` and `MAY_APPEND` (include/linux/fs.h).
const MAY_WRITE: i32 = 2 | 8;

/// `EINTR` (include/uapi/asm-generic/errno-base.h).
const EINTR: i32 = 4;

/// Judges a write.
#[lsm(hook = "file_permission")]
pub(crate) fn file_permission(ctx: LsmContext) -> i32 {
    let file: Object = ctx.arg(0);
    let mask: i32 = ctx.arg(1);
    if let Some(verdict) = access::earlier(ctx.arg(2)) {
        return verdict;
    }
    if mask & MAY_WRITE == 0 {
        return 0;
    }
    // SAFETY: the hook's own argument, which the kernel never leaves out.
    match unsafe { OpenFile::argument(file) }.device() {
        Some(DEV_MEM) => {}
        Some(DEV_PORT) => return access::deny(path::PCI, 0),
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
    access::deny_write(
        path::WRITE,
        saved.zip(end).map(|(saved, end)| Range { start: saved.at, end }),
    )
}
