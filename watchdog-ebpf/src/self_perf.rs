//! Path `self`: probes and counters, which change the watchdog's process without a tracer.
//!
//! match-proto: `int bpf_lsm_perf_event_alloc(struct perf_event *)` (6.1 to 7.2): a counter may
//! send its process SIGTRAP (`perf_event_attr::sigtrap`), which the kernel does itself and asks no
//! hook about. Needs `bpf` among the active LSMs.
//!
//! match-proto: `int set_swbp(struct arch_uprobe *, struct mm_struct *, unsigned long)`
//! (kernel/events/uprobes.c, 6.1 to 6.15; later a `struct vm_area_struct *`): every breakpoint of a
//! uprobe is written by it, wherever the probe came from. One in the middle of an instruction makes
//! another one of it. Nothing can be refused there. The guard kills the process that asked; the
//! kernel, which gets the page in the name of that process, then does not write
//! (`get_user_pages_remote()` with a fatal signal pending). A process that gets a probe while it
//! maps the executable is killed itself.

use aya_ebpf::macros::{fentry, lsm};
use aya_ebpf::programs::{FEntryContext, LsmContext};
use watchdog_common::{role, self_act};

use crate::access::{Access, earlier};
use crate::identity::{forget, is_watchdog, number_of, role_of};
use crate::pointer::Structure;
use crate::self_protection::deny_untrusted;
use crate::structures::{Mm, PerfEvent, Task};

/// Judges a counter of what one of the watchdog's threads does.
#[lsm(hook = "perf_event_alloc")]
pub(crate) fn perf_event_alloc(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(1)) {
        return verdict;
    }
    let target = PerfEvent::at(ctx.arg(0)).and_then(PerfEvent::target);
    if !target.is_some_and(is_watchdog) {
        return 0;
    }
    deny_untrusted(self_act::TRACE, false)
}

/// Sees a breakpoint before it is written.
#[fentry]
pub(crate) fn breakpoint(ctx: FEntryContext) -> u32 {
    let mm = Mm::probed(ctx.arg(1));
    let space = number_of(mm);
    if role_of(space) == role::WATCHDOG {
        if mm == Task::current().mm() {
            forget(space);
        }
        Access::to_guard(self_act::TRACE).kill();
    }
    0
}
