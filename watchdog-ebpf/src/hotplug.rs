//! Path `hotplug`: memory becomes RAM of this node, and its allocator then hands it out (the crash
//! of 2016).
//!
//! match-proto: `int add_memory_resource(int, struct resource *, mhp_t)` and `int
//! online_pages(unsigned long, unsigned long, struct zone *, struct memory_group *)`
//! (mm/memory_hotplug.c, 6.1 to 7.2).
//!
//! Observed only: no hook can refuse these calls.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use watchdog_common::{Range, path};

use crate::access::Access;
use crate::memory;
use crate::pointer::Structure;
use crate::structures::Resource;

const PAGE: u64 = 4096;

/// Memory is added.
#[fentry(function = "add_memory_resource")]
pub(crate) fn add_memory(ctx: FEntryContext) -> i32 {
    judge(Resource::at(ctx.arg(1)).and_then(range));
    0
}

#[inline(always)]
fn range(resource: Resource) -> Option<Range> {
    Some(Range { start: resource.start()?, end: resource.last()?.saturating_add(1) })
}

/// Memory is given to the allocator.
#[fentry(function = "online_pages")]
pub(crate) fn online_pages(ctx: FEntryContext) -> i32 {
    let frame: u64 = ctx.arg(0);
    let count: u64 = ctx.arg(1);
    judge(memory::pages(frame, count.saturating_mul(PAGE)));
    0
}

/// Judges memory that becomes RAM. Fails open if the range cannot be read.
#[inline(always)]
fn judge(range: Option<Range>) {
    if let Some(range) = range {
        Access::to_memory(path::HOTPLUG, Some(range)).kill_or_report();
    }
}
