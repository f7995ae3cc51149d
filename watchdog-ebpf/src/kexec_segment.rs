//! Path `kexec-segments`, second check: a segment of a kexec as the kernel has copied it, out of
//! reach of the caller's other threads, which may have changed it after `kernel_load_data`.
//!
//! match-proto: `int kimage_load_segment(struct kimage *, struct kexec_segment *)`, in 7.2
//! `int kimage_load_segment(struct kimage *, int)` with the place in the image's own table
//! (kernel/kexec_core.c).
//!
//! Where policy refuses, the process is killed, and nothing is loaded: the kernel gives no page to
//! a process that is about to die (`kimage_alloc_pages()`, 6.1 to 7.2). kexec_file_load(2) finds
//! places in this kernel's own RAM only, and comes by here as well. Fails open for a segment that
//! cannot be read, which the kernel's own memory never is.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use watchdog_common::{Range, path};

use crate::access::Access;
use crate::kernel::{Object, offset, read};

/// `KEXEC_SEGMENT_MAX` (include/uapi/linux/kexec.h).
const MAX_SEGMENTS: u64 = 16;
/// `struct kexec_segment` (include/linux/kexec.h): its size, and where its physical address and the
/// bytes there stand.
const SEGMENT_BYTES: u64 = 32;
const MEMORY: u32 = 16;

/// Judges a segment.
#[fentry]
pub(crate) fn kexec_segment(ctx: FEntryContext) -> i32 {
    // As numbers: the verifier allows no arithmetic with pointers that it knows.
    let number = |n: u32| read::<u64>(ctx.as_ptr(), n * 8).unwrap_or(0);
    let (image, segment) = (number(0), number(1));
    // An `int` leaves the upper half of its register undefined.
    let index = segment & 0xffff_ffff;
    let segment = if segment < MAX_SEGMENTS || segment >> 47 == 0 {
        let table = image.wrapping_add(offset!(kimage_segment).into());
        table.wrapping_add((index % MAX_SEGMENTS) * SEGMENT_BYTES)
    } else {
        segment
    };
    let [start, bytes] = read::<[u64; 2]>(segment as Object, MEMORY).unwrap_or_default();
    let range = Range { start, end: start.saturating_add(bytes) };
    Access::to_memory(path::KEXEC_SEGMENTS, Some(range)).kill();
    0
}
