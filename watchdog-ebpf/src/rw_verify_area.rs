//! Saves the position of a write, which the LSM hook behind it does not get to see.
//!
//! match-proto: `int rw_verify_area(int, struct file *, const loff_t *, size_t)`
//! (fs/read_write.c, 6.1 to 7.2). Every write(2) and its kin, aio and io_uring pass through it
//! before `security_file_permission`. Needs BTF and ftrace.
//!
//! Fails closed: skipped on recursion or inlined away, it saves nothing, and `file_permission`
//! denies what it does not know.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};

use crate::kernel::{Object, is_dev_mem};
use crate::saved::{Call, clear, save};

/// `WRITE` (include/linux/kernel.h).
const WRITE: i32 = 1;

/// On the way in: saves position and count of a write to `/dev/mem`.
#[fentry(function = "rw_verify_area")]
pub(crate) fn write_position(ctx: FEntryContext) -> i32 {
    let direction: i32 = ctx.arg(0);
    let file: Object = ctx.arg(1);
    let count: u64 = ctx.arg(3);
    // A count that is below zero is refused before the hook, which then does not take what was saved;
    // should the program that clears it be skipped, it would speak for the thread's next write.
    if direction == WRITE && count.cast_signed() >= 0 && is_dev_mem(file) {
        let position: *const i64 = ctx.arg(2);
        // A stream has no position (null since 5.3): nothing is saved, which denies.
        // SAFETY: the helper checks the address by itself.
        if let Ok(position) = unsafe { bpf_probe_read_kernel(position) } {
            save(Call::Write, file, position.cast_unsigned(), count);
        }
    }
    0
}

/// On the way out: forgets it. The function may return before the hook was called.
#[fexit(function = "rw_verify_area")]
pub(crate) fn write_position_done(ctx: FExitContext) -> i32 {
    let direction: i32 = ctx.arg(0);
    if direction == WRITE && is_dev_mem(ctx.arg(1)) {
        clear(Call::Write);
    }
    0
}
