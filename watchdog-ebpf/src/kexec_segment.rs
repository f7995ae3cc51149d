//! Path `kexec-segments`, second check: a segment of a kexec, in the kernel's copy. Other threads
//! of the caller may have changed the segment after `kernel_load_data`, but cannot change this
//! copy.
//!
//! match-proto: `int kimage_load_segment(struct kimage *, struct kexec_segment *)`, in 7.2 `int
//! kimage_load_segment(struct kimage *, int)` with the index in the image's table
//! (kernel/kexec_core.c).
//!
//! If policy denies, the process is killed and nothing is loaded: the kernel gives no page to a
//! process with a fatal signal (`kimage_alloc_pages()`, 6.1 to 7.2). kexec_file_load(2) also calls
//! this function, but only chooses places in this kernel's RAM. Fails open for a segment that
//! cannot be read, but kernel memory can always be read.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use watchdog_common::{Range, path};

use crate::access::Access;
use crate::kernel::{Object, offset, read};

/// `KEXEC_SEGMENT_MAX` (include/uapi/linux/kexec.h).
const MAX_SEGMENTS: u64 = 16;
/// `struct kexec_segment` (include/linux/kexec.h): its size, and the offset of its physical address
/// and of the number of bytes there.
const SEGMENT_BYTES: u64 = 32;
const MEMORY: u32 = 16;

/// Judges a segment.
#[fentry]
pub(crate) fn kexec_segment(ctx: FEntryContext) -> i32 {
    // The arguments as numbers: the verifier allows no arithmetic with pointers of known types.
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
