//! Path `mprotect`: mprotect makes a read-only shared mapping of `/dev/mem` writable.
//!
//! match-proto: `int bpf_lsm_file_mprotect(struct vm_area_struct *, unsigned long, unsigned long)`
//! (6.1 to 7.2). Needs `bpf` among the active LSMs. The hook gets the whole mapping. The part of it
//! that changes is in the system call's registers.
//!
//! Fails closed: a mapping that cannot be read is denied, and without registers the whole mapping
//! is judged.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::{Range, path};

use crate::access::{Access, earlier};
use crate::memory;
use crate::pointer::Structure;
use crate::registers::{Entry, current};
use crate::structures::{File, Vma};

const PROT_WRITE: u64 = 2;
/// `VM_SHARED` (include/linux/mm.h).
const VM_SHARED: u64 = 8;
const PAGE: u64 = 4096;

/// Judges a change of protection.
#[lsm(hook = "file_mprotect")]
pub(crate) fn file_mprotect(ctx: LsmContext) -> i32 {
    let protection: u64 = ctx.arg(2);
    if let Some(verdict) = earlier(ctx.arg(3)) {
        return verdict;
    }
    if protection & PROT_WRITE == 0 {
        return 0;
    }
    let Some(vma) = Vma::at(ctx.arg(0)) else { return 0 };
    if !vma.file().is_some_and(File::is_dev_mem) {
        return 0;
    }
    let flags = vma.flags();
    if flags.is_some_and(|flags| flags & VM_SHARED == 0) {
        return 0;
    }
    Access::to_memory(path::MPROTECT, flags.and_then(|_| aimed(vma))).deny()
}

/// The memory that the call makes writable.
#[inline(always)]
fn aimed(vma: Vma) -> Option<Range> {
    let (start, end, pgoff) = (vma.start()?, vma.end()?, vma.pgoff()?);
    let (mut first, mut behind) = (start, end);
    if let Some(Entry::Mprotect { at, bytes }) = current() {
        let asked = at.wrapping_add(bytes.wrapping_add(PAGE - 1) & !(PAGE - 1));
        // The range of the call narrows the judged range only if it overlaps this mapping.
        if at < asked && at < end && start < asked {
            first = start.max(at);
            behind = end.min(asked);
        }
    }
    let offset = first.wrapping_sub(start);
    memory::pages(pgoff.wrapping_add(offset / PAGE), behind.wrapping_sub(first))
}
