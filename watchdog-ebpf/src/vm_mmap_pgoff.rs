//! Saves what an mmap is about, which the LSM hook behind it does not get to see.
//!
//! match-proto: `unsigned long vm_mmap_pgoff(struct file *, unsigned long, unsigned long,
//! unsigned long, unsigned long, unsigned long)` (mm/util.c, 6.1 to 7.2). Every mmap(2) passes
//! through it. Needs BTF and ftrace.
//!
//! Fails closed: skipped or inlined away, it saves nothing, and `mmap_file` denies what it does
//! not know.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::kernel::{Object, is_dev_mem};
use crate::saved::{Call, save};

/// Saves page offset and length of a mapping of `/dev/mem`.
#[fentry(function = "vm_mmap_pgoff")]
pub(crate) fn mapping(ctx: FEntryContext) -> i32 {
    let file: Object = ctx.arg(0);
    if is_dev_mem(file) {
        let bytes: u64 = ctx.arg(2);
        let pgoff: u64 = ctx.arg(5);
        save(Call::Mapping, file, pgoff, bytes);
    }
    0
}
