//! Path `self`: what changes the watchdog's process by probes and counters, for which nobody needs
//! to trace it.
//!
//! match-proto: `int bpf_lsm_perf_event_alloc(struct perf_event *)` (6.1 to 7.2): a counter may
//! send its process SIGTRAP (`perf_event_attr::sigtrap`), which the kernel does itself and asks no
//! hook about. Needs `bpf` among the active LSMs.
//!
//! match-proto: `int set_swbp(struct arch_uprobe *, struct mm_struct *, unsigned long)`
//! (kernel/events/uprobes.c, 6.1 to 6.15; later a `struct vm_area_struct *`): every breakpoint of a
//! uprobe is written by it, wherever the probe came from. One in the middle of an instruction makes
//! another one of it. Nothing can be refused there: who asked is killed, and the kernel, which gets
//! the page in the name of that process, then does not write (`get_user_pages_remote()` with a
//! fatal signal pending). A process into which a probe comes as it maps the executable is killed
//! itself.

use aya_ebpf::macros::{fentry, lsm};
use aya_ebpf::programs::{FEntryContext, LsmContext};
use watchdog_common::{ITSELF, role, self_act};

use crate::identity::{forget, role_of};
use crate::kernel::{Object, field, offset};
use crate::self_process::is_watchdog;
use crate::self_protection::deny_untrusted;
use crate::{access, self_process};

/// Judges a counter of what one of the watchdog's threads does.
#[lsm(hook = "perf_event_alloc")]
pub(crate) fn perf_event_alloc(ctx: LsmContext) -> i32 {
    if let Some(verdict) = access::earlier(ctx.arg(1)) {
        return verdict;
    }
    let counted = field::<Object>(ctx.arg(0), offset!(event_target)).unwrap_or(core::ptr::null());
    if counted.is_null() || !is_watchdog(counted) {
        return 0;
    }
    deny_untrusted(self_act::TRACE, false)
}

/// Sees a breakpoint before it is written.
#[fentry]
pub(crate) fn breakpoint(ctx: FEntryContext) -> u32 {
    let place: Object = ctx.arg(1);
    let mm = match offset!(probed_mm) {
        ITSELF => place,
        offset => field(place, offset).unwrap_or(core::ptr::null()),
    };
    let space = field::<u64>(mm, offset!(mm_context_id)).unwrap_or(0);
    if role_of(space) == role::WATCHDOG {
        if mm == self_process::memory() {
            forget(space);
        }
        access::kill_self_act(self_act::TRACE);
    }
    0
}
