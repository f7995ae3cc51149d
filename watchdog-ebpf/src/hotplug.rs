//! Path `hotplug`: memory becomes RAM of this node. Its allocator hands it out then: the crash of
//! 2016.
//!
//! match-proto: `int add_memory_resource(int, struct resource *, mhp_t)` and `int
//! online_pages(unsigned long, unsigned long, struct zone *, struct memory_group *)`
//! (mm/memory_hotplug.c, 6.1 to 7.2).
//!
//! Observed only: neither has a hook that could refuse.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use watchdog_common::path;

use crate::access;
use crate::kernel::{Object, field, offset};

const PAGE: u64 = 4096;

/// Memory is added.
#[fentry(function = "add_memory_resource")]
pub(crate) fn add_memory(ctx: FEntryContext) -> i32 {
    let resource: Object = ctx.arg(1);
    let start = field::<u64>(resource, offset!(resource_start));
    let last = field::<u64>(resource, offset!(resource_end));
    if let (Some(start), Some(last)) = (start, last) {
        access::kill_or_report(path::HOTPLUG, start, last.saturating_add(1));
    }
    0
}

/// Memory is given to the allocator.
#[fentry(function = "online_pages")]
pub(crate) fn online_pages(ctx: FEntryContext) -> i32 {
    let frame: u64 = ctx.arg(0);
    let count: u64 = ctx.arg(1);
    if let Some(range) = access::pages(frame, count.saturating_mul(PAGE)) {
        access::kill_or_report(path::HOTPLUG, range.start, range.end);
    }
    0
}
