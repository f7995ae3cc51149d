//! Paths `frames` and `fault`: a driver maps physical frames into a process, at once or on a page
//! fault. Examples are UIO, frame buffers, MTD, graphics, and `/dev/mem` itself.
//!
//! match-proto: `int remap_pfn_range_internal(struct vm_area_struct *, unsigned long, unsigned
//! long, unsigned long, pgprot_t)` (6.1, 6.12), in 7.2 `remap_pfn_range_track`, before them
//! `remap_pfn_range_notrack` or `remap_pfn_range`, all with these parameters; `vm_fault_t
//! insert_pfn(struct vm_area_struct *, unsigned long, pfn, pgprot_t, bool)` (6.1 to 7.2), else
//! `vmf_insert_pfn_prot`; `vmf_insert_pfn_pmd` and `_pud`, in 6.1 with `_prot` (mm/memory.c,
//! mm/huge_memory.c). The loader takes the innermost function that the kernel has.
//!
//! No program can prevent the mapping, so the process is killed before it returns to user mode.
//! Until then, a sibling thread on another processor can use the mapping. A kernel that inlines
//! these functions is not covered, and the self-test reports that.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use watchdog_common::path;

use crate::access::Access;
use crate::memory;
use crate::pointer::Structure;
use crate::structures::{Fault, File, Vma};

/// `VM_WRITE`, `VM_SHARED`, `VM_MAYWRITE` (include/linux/mm.h).
const VM_WRITE: u64 = 2;
const VM_SHARED: u64 = 8;
const VM_MAYWRITE: u64 = 0x20;
/// `pfn_t` keeps flags above the frame's number (include/linux/pfn_t.h, to 6.15).
const PFN: u64 = (1 << 52) - 1;
const PAGE: u64 = 4096;
const PMD: u64 = 2 << 20;
const PUD: u64 = 1 << 30;

/// A range of frames.
#[fentry]
pub(crate) fn frames(ctx: FEntryContext) -> i32 {
    judge_frames(path::FRAMES, Vma::at(ctx.arg(0)), ctx.arg(2), ctx.arg(3));
    0
}

/// One page, on a fault.
#[fentry]
pub(crate) fn fault_page(ctx: FEntryContext) -> i32 {
    let frame: u64 = ctx.arg(2);
    judge_frames(path::FAULT, Vma::at(ctx.arg(0)), frame & PFN, PAGE);
    0
}

/// A page of 2 MiB, on a fault.
#[fentry]
pub(crate) fn fault_pmd(ctx: FEntryContext) -> i32 {
    fault(&ctx, PMD);
    0
}

/// A page of 1 GiB, on a fault.
#[fentry]
pub(crate) fn fault_pud(ctx: FEntryContext) -> i32 {
    fault(&ctx, PUD);
    0
}

#[inline(always)]
fn fault(ctx: &FEntryContext, bytes: u64) {
    let vma = Fault::at(ctx.arg(0)).and_then(Fault::vma);
    let frame: u64 = ctx.arg(1);
    judge_frames(path::FAULT, vma, frame & PFN & !(bytes / PAGE - 1), bytes);
}

/// Judges frames that become part of a mapping.
#[inline(always)]
fn judge_frames(path: u32, vma: Option<Vma>, frame: u64, bytes: u64) {
    if vma.is_none_or(is_writable)
        && let Some(range) = memory::pages(frame, bytes)
    {
        Access::to_memory(path, Some(range)).kill_or_report();
    }
}

/// Whether a process can write memory through a mapping. A store into a private mapping goes to a
/// copy. A read-only mapping of `/dev/mem` is judged again when it becomes writable. Mappings of
/// other devices are not, so they count if they may become writable.
#[inline(always)]
pub(crate) fn is_writable(vma: Vma) -> bool {
    let Some(flags) = vma.flags() else { return true };
    if flags & VM_SHARED == 0 {
        return false;
    }
    let is_dev_mem = || vma.file().is_some_and(File::is_dev_mem);
    flags & VM_WRITE != 0 || (flags & VM_MAYWRITE != 0 && !is_dev_mem())
}
