//! Saves the position of a write, because the LSM hook after it does not get the position.
//!
//! match-proto: `int rw_verify_area(int, struct file *, const loff_t *, size_t)` (fs/read_write.c,
//! 6.1 to 7.2). write(2), its variants, aio and io_uring call it before `security_file_permission`.
//! Needs BTF and ftrace.
//!
//! Fails closed: if the kernel skips the program on recursion, or inlines the function, nothing is
//! saved. `file_permission` then refuses the write.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::arguments::FileArgument;
use crate::saved::save;
use crate::structures::DEV_MEM;

/// `WRITE` (include/linux/kernel.h).
const WRITE: i32 = 1;

/// Saves position and count of a write to `/dev/mem`.
#[fentry(function = "rw_verify_area")]
pub(crate) fn write_position(ctx: FEntryContext) -> i32 {
    let direction: i32 = ctx.arg(0);
    let count: u64 = ctx.arg(3);
    if direction != WRITE {
        return 0;
    }
    // SAFETY: the function's argument, which the function itself dereferences.
    let file = unsafe { FileArgument::new(ctx.arg(1)) };
    if file.device() == Some(DEV_MEM) {
        let position: *const i64 = ctx.arg(2);
        // A stream has no position (null since 5.3). Nothing is saved, so the write is refused.
        // SAFETY: the helper checks the address itself.
        if let Ok(position) = unsafe { bpf_probe_read_kernel(position) }
            && !is_refused(position, count)
        {
            save(file, position.cast_unsigned(), count);
        }
    }
    0
}

/// Whether the function itself refuses the write, so that no program would take the saved data: a
/// count or an end beyond a signed number (positions of `/dev/mem` are unsigned).
#[inline(always)]
fn is_refused(position: i64, count: u64) -> bool {
    count.cast_signed() < 0 || position < 0 && count >= position.unsigned_abs()
}
