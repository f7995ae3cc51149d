//! Path `mprotect`: mprotect makes a read-only shared mapping of `/dev/mem` writable.
//!
//! match-proto: `int bpf_lsm_file_mprotect(struct vm_area_struct *, unsigned long,
//! unsigned long)` (6.1 to 7.2). Needs `bpf` among the active LSMs. The hook gets the whole
//! mapping; which part of it is meant stands in the system call's registers.
//!
//! Fails closed: a mapping that cannot be read is denied, and without registers the whole mapping
//! counts.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{Range, path};

use crate::access;
use crate::kernel::{Object, field, is_dev_mem, offset};
use crate::registers::{Entry, current};

const PROT_WRITE: u64 = 2;
/// `VM_SHARED` (include/linux/mm.h).
const VM_SHARED: u64 = 8;
const PAGE: u64 = 4096;

/// Judges a change of protection.
#[lsm(hook = "file_mprotect")]
pub(crate) fn file_mprotect(ctx: LsmContext) -> i32 {
    let vma: Object = ctx.arg(0);
    let protection: u64 = ctx.arg(2);
    if let Some(verdict) = access::earlier(ctx.arg(3)) {
        return verdict;
    }
    if protection & PROT_WRITE == 0 {
        return 0;
    }
    let file = field::<Object>(vma, offset!(vma_file)).unwrap_or(core::ptr::null());
    if !is_dev_mem(file) {
        return 0;
    }
    let flags = field::<u64>(vma, offset!(vma_flags));
    if flags.is_some_and(|flags| flags & VM_SHARED == 0) {
        return 0;
    }
    access::deny_write(path::MPROTECT, flags.and_then(|_| aimed(vma)))
}

/// The memory that is about to become writable.
#[inline(always)]
fn aimed(vma: Object) -> Option<Range> {
    let start = field::<u64>(vma, offset!(vma_start))?;
    let end = field::<u64>(vma, offset!(vma_end))?;
    let pgoff = field::<u64>(vma, offset!(vma_pgoff))?;
    let (mut first, mut behind) = (start, end);
    if let Some(Entry::Mprotect { at, bytes }) = current() {
        let asked = at.wrapping_add(bytes.wrapping_add(PAGE - 1) & !(PAGE - 1));
        // Only a part that makes sense narrows what is judged.
        if at < asked && at < end && start < asked {
            first = start.max(at);
            behind = end.min(asked);
        }
    }
    let offset = first.wrapping_sub(start);
    access::pages(pgoff.wrapping_add(offset / PAGE), behind.wrapping_sub(first))
}
