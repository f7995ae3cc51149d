//! What a node's step goes by, beside the node itself.

use std::time::{Duration, Instant};

use super::attribution::WriteLog;
use super::leases::LeasedRanges;
use watchdog_core::memory::{Memory, RangeSet};

/// What is known in one sweep, of all nodes.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) memory: &'a dyn Memory,
    /// The clock: it advances during a step.
    pub(super) now: &'a dyn Fn() -> Instant,
    /// What is leased: that may change during a step.
    pub(super) leased: &'a LeasedRanges,
    /// Memory whose lease ended since the last sweep.
    pub(super) lease_ended: &'a RangeSet,
    pub(super) write_log: &'a WriteLog,
    /// How long the clocks of a node may stand still at least; `None` where memory is at rest.
    pub(super) still: Option<Duration>,
    /// How long a node may boot until it counts as lost.
    pub(super) boot_limit: Duration,
}

impl Context<'_> {
    /// Whether any of some memory is leased now.
    pub(super) fn is_leased(&self, memory: &RangeSet) -> bool {
        self.leased.overlap(memory)
    }

    /// Whether the lease of any of some memory ended since the last sweep.
    pub(super) fn was_leased(&self, memory: &RangeSet) -> bool {
        !self.lease_ended.intersection(memory).is_empty()
    }
}
