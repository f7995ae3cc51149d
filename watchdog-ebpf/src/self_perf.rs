//! Path `self`: uprobes and counters, which can change the watchdog's process without a tracer.
//!
//! match-proto: `int bpf_lsm_perf_event_alloc(struct perf_event *)` (6.1 to 7.2): a counter may
//! send SIGTRAP to its process (`perf_event_attr::sigtrap`). The kernel itself sends this signal,
//! without a hook. Needs `bpf` among the active LSMs.
//!
//! match-proto: `int set_swbp(struct arch_uprobe *, struct mm_struct *, unsigned long)`
//! (kernel/events/uprobes.c, 6.1 to 6.15; later a `struct vm_area_struct *`): it writes every
//! breakpoint of a uprobe, from any source. A breakpoint inside an instruction changes that
//! instruction. The call cannot be refused, so the guard kills the process that requested the
//! probe. The kernel gets the page on behalf of that process, and with a fatal signal pending does
//! not write it (`get_user_pages_remote()`). A process that gets a probe while it maps the
//! executable is killed itself.

use aya_ebpf::macros::{fentry, lsm};
use aya_ebpf::programs::{FEntryContext, LsmContext};
use watchdog_common::{role, self_act};

use crate::access::{Access, earlier};
use crate::identity::{forget, is_watchdog, number_of, role_of};
use crate::pointer::Structure;
use crate::self_protection::deny_untrusted;
use crate::structures::{Mm, PerfEvent, Task};

/// Judges a counter on one of the watchdog's threads.
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

/// Detects a breakpoint before it is written.
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
