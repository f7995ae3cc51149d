//! The input of a node's step besides the node itself.

use std::time::{Duration, Instant};

use super::attribution::WriteLog;
use super::leases::LeasedRanges;
use watchdog_core::memory::{Memory, RangeSet};

/// Facts about all nodes in one sweep.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) memory: &'a dyn Memory,
    /// The clock: it advances during a step.
    pub(super) now: &'a dyn Fn() -> Instant,
    /// The leased memory. It may change during a step.
    pub(super) leased: &'a LeasedRanges,
    /// Memory whose lease ended since the last sweep.
    pub(super) lease_ended: &'a RangeSet,
    pub(super) write_log: &'a WriteLog,
    /// The shortest time for which a node's clocks may stand still; `None` if memory is at rest.
    pub(super) still: Option<Duration>,
    /// How long a node may boot before it counts as lost.
    pub(super) boot_limit: Duration,
}

impl Context<'_> {
    /// Whether any part of some memory is leased now.
    pub(super) fn is_leased(&self, memory: &RangeSet) -> bool {
        self.leased.overlap(memory)
    }

    /// Whether a lease of any part of some memory ended since the last sweep.
    pub(super) fn was_leased(&self, memory: &RangeSet) -> bool {
        !self.lease_ended.intersection(memory).is_empty()
    }
}
