//! Paths `module`, `kexec-segments` and `kexec`: init_module(2) and kexec_load(2) give the kernel
//! data in memory to load.
//!
//! match-proto: `int bpf_lsm_kernel_load_data(enum kernel_load_data_id, bool)` (6.1 to 7.2). Needs
//! `bpf` among the active LSMs. The segments of a kexec need the system call's registers.
//!
//! If policy allows kexec as a whole, or the caller holds a lease, the segments are judged by their
//! destinations. Fails closed: segments that cannot be read are denied. They are in the caller's
//! memory, and another thread may change them before the kernel reads them again. `kexec_segment`
//! therefore judges the copy that the kernel read.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{Range, path};

use crate::access::{Access, earlier};
use crate::registers::{Entry, current};
use crate::rules::{self, Table};
use crate::{lease, memory};

/// `KEXEC_SEGMENT_MAX` (include/uapi/linux/kexec.h). The kernel refuses more.
const MAX_SEGMENTS: u64 = 16;

/// `struct kexec_segment`: address and size of the source, then of the destination.
const SEGMENT_BYTES: u64 = 32;
const MEMORY: u64 = 16;

/// Judges data that the kernel is about to load.
#[lsm(hook = "kernel_load_data")]
pub(crate) fn kernel_load_data(ctx: LsmContext) -> i32 {
    let kind: u32 = ctx.arg(0);
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    match rules::entry(Table::LoadData, kind) {
        Some(path::KEXEC) if lease::allows_to_begin() => segments(),
        Some(path) => match Access::to_resource(path, 0).deny() {
            0 if path == path::KEXEC => segments(),
            verdict => verdict,
        },
        None => 0,
    }
}

/// Judges the segments of a kexec_load. The loop over them has no branch, because the verifier
/// would follow each branch to its end.
#[inline(always)]
fn segments() -> i32 {
    if !rules::is_on(path::KEXEC_SEGMENTS) {
        return 0;
    }
    // No program loads a kernel through a 32-bit system call, so these are unknown here and denied.
    let (count, at, mut unknown) = match current() {
        Some(Entry::Kexec { count, at }) => (count, at, 0_i64),
        _ => (0, 0, -1),
    };
    let lease = lease::current();
    // `unknown` is negative once a segment cannot be read or has no valid address. `found` is
    // negative once a segment is aimed at a node.
    let mut found = 0_i64;
    let (mut start, mut end) = (0, 0);
    let mut n = 0;
    while n < MAX_SEGMENTS && n < count {
        let mut segment = [0_u64; 2];
        let from = at.wrapping_add(n * SEGMENT_BYTES + MEMORY);
        // SAFETY: the helper checks the address itself, and the buffer is large enough.
        unknown |= unsafe {
            let buffer = segment.as_mut_ptr().cast();
            bpf_probe_read_user(buffer, size_of_val(&segment) as u32, from as *const c_void)
        };
        let [first, bytes] = segment;
        let behind = first.wrapping_add(bytes);
        unknown |= (first | bytes | behind).cast_signed();
        let aimed = memory::guarded_sign(first, behind) & lease::outside_sign(lease, first, behind);
        // The first segment that is aimed at a node is reported.
        let mask = (aimed & !found) >> 63;
        start |= first & mask.cast_unsigned();
        end |= behind & mask.cast_unsigned();
        found |= aimed;
        n += 1;
    }
    if unknown >= 0 && found >= 0 {
        return 0;
    }
    let range = (unknown >= 0).then_some(Range { start, end });
    Access::to_memory(path::KEXEC_SEGMENTS, range).deny()
}
