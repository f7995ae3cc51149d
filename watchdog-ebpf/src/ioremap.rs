//! Path `ioremap`, and through it path `module-parameters`: the kernel or a module maps memory for
//! itself. phram, slram and ramoops make a device of any physical address in this way.
//!
//! match-proto: `void *__ioremap_caller(resource_size_t, unsigned long, enum page_cache_mode, void
//! *, bool)` (arch/x86/mm/ioremap.c, 6.1 to 7.2): every ioremap calls it, and memremap of memory
//! that is not RAM; and `ssize_t read_mem(struct file *, char *, size_t, loff_t *)`
//! (drivers/char/mem.c), which does the same for a plain read of `/dev/mem`.
//!
//! Observed only: the kernel itself uses the mapping, and no signal stops that.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{fentry, fexit, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{FEntryContext, FExitContext};
use watchdog_common::{Range, path};

use crate::access::Access;

/// Threads that are reading `/dev/mem`. A thread without room in the table is reported like a
/// driver.
#[map]
static READERS: HashMap<u64, u8> = HashMap::with_max_entries(4096, 0);

/// A read of `/dev/mem` begins.
#[fentry(function = "read_mem")]
pub(crate) fn reading(_ctx: FEntryContext) -> i32 {
    let _ = READERS.insert(bpf_get_current_pid_tgid(), 1, 0);
    0
}

/// The read ends.
#[fexit(function = "read_mem")]
pub(crate) fn reading_done(_ctx: FExitContext) -> i32 {
    let _ = READERS.remove(bpf_get_current_pid_tgid());
    0
}

/// Judges a mapping for the kernel itself.
#[fentry(function = "__ioremap_caller")]
pub(crate) fn ioremap(ctx: FEntryContext) -> i32 {
    let start: u64 = ctx.arg(0);
    let bytes: u64 = ctx.arg(1);
    // SAFETY: only this thread's own programs touch its entry.
    let is_reading = unsafe { READERS.get(bpf_get_current_pid_tgid()) }.is_some();
    let range = Range { start, end: start.saturating_add(bytes) };
    let access = Access::to_memory(path::IOREMAP, Some(range));
    if is_reading {
        access.counts_as_probe();
    } else {
        access.kill_or_report();
    }
    0
}
