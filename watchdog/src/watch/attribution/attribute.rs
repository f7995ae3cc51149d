//! Attributes one change from the log and from facts about the machine. It neither waits nor reads
//! anything.

use std::time::Instant;

use super::access::Access;
use super::write_log::Writes;
use watchdog_core::memory::RangeSet;

/// A change of a node's memory that was just detected, with the facts of that moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    /// The node's physical memory.
    pub(super) memory: &'a RangeSet,
    /// When the memory was last seen without the change; `None` in the first sweep.
    pub(super) since: Option<Instant>,
    /// Whether an IOMMU confines every PCI device of node 0.
    pub(super) are_devices_confined: bool,
}

/// The origin of a change, as far as the guard can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) enum Attribution {
    /// The change was there in the first sweep.
    Unknown,
    /// Possibly node 0: the guard is not whole, or was not whole after the memory was last seen.
    GuardIncomplete {
        /// Whether the guard is whole again.
        is_over: bool,
    },
    /// Possibly node 0, through this access.
    Node0(Access),
    /// Not node 0: the change came from inside the node or from a device.
    Elsewhere {
        /// Whether an IOMMU confines every PCI device of node 0, which rules these out too.
        are_devices_confined: bool,
    },
}

/// Attributes a change; `None` without a guard.
pub(super) fn attribute(log: &Writes, change: &Change<'_>) -> Option<Attribution> {
    let is_whole = log.is_guard_whole?;
    let Some(since) = change.since else { return Some(Attribution::Unknown) };
    if !is_whole || log.gap_ended.is_some_and(|ended| ended >= since) {
        return Some(Attribution::GuardIncomplete { is_over: is_whole });
    }
    let used = || log.uses.iter().find(|it| change.memory.overlaps(&it.range));
    let access = log.since(since, change.memory).next().cloned();
    Some(match access.or_else(|| used().cloned().map(Access::Used)) {
        Some(access) => Attribution::Node0(access),
        None => Attribution::Elsewhere { are_devices_confined: change.are_devices_confined },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::write_log::Entry;
    use super::*;
    use watchdog_core::memory::{MemoryUse, UseKind};
    use watchdog_guard::WritePath;

    fn set(range: &str) -> RangeSet {
        range.parse().into_iter().collect()
    }

    fn leased(exe: &str) -> Access {
        Access::Leased { exe: exe.to_owned() }
    }

    /// Attributes a change of 0x1000..0x3000 after `since`, with devices that are not confined.
    fn attributed(log: &Writes, since: Option<Instant>) -> Option<Attribution> {
        let memory = &set("0x1000..0x3000");
        attribute(log, &Change { memory, since, are_devices_confined: false })
    }

    /// Check the attribution without a guard, in the first sweep, and with a guard that is not
    /// whole. Each takes precedence over the log.
    #[test]
    fn not_from_the_log() {
        let now = Instant::now();
        let mut log = Writes::default();
        log.add(Entry { memory: None, until: None, access: leased("a") });
        assert_eq!(attributed(&log, Some(now)), None);
        log.is_guard_whole = Some(false);
        let incomplete = |is_over| Some(Attribution::GuardIncomplete { is_over });
        assert_eq!(attributed(&log, Some(now)), incomplete(false));
        assert_eq!(attributed(&log, None), Some(Attribution::Unknown));
        (log.is_guard_whole, log.gap_ended) = (Some(true), Some(now));
        assert_eq!(attributed(&log, Some(now)), incomplete(true));
        let later = now + Duration::from_secs(1);
        assert_eq!(attributed(&log, Some(later)), Some(Attribution::Node0(leased("a"))));
    }

    /// Check that node 0 is not ruled out after access to the memory since it was last seen, with
    /// access that lasts, or with a use by the kernel. Check that the latest access comes first,
    /// and that access to an unknown place counts everywhere.
    #[test]
    fn node_0_or_elsewhere() {
        let now = Instant::now();
        let before = now.checked_sub(Duration::from_secs(1));
        let mut log = Writes::default();
        log.is_guard_whole = Some(true);
        let elsewhere =
            |are_devices_confined| Some(Attribution::Elsewhere { are_devices_confined });
        let node_0 = |access: &Access| Some(Attribution::Node0(access.clone()));
        log.add(Entry { memory: Some(set("0x3000..0x4000")), until: None, access: leased("a") });
        log.add(Entry { memory: Some(set("0x2fff..0x3000")), until: before, access: leased("b") });
        assert_eq!(attributed(&log, Some(now)), elsewhere(false));
        assert_eq!(attributed(&log, before), node_0(&leased("b")));
        let memory = &set("0x1000..0x3000");
        let confined = Change { memory, since: Some(now), are_devices_confined: true };
        assert_eq!(attribute(&log, &confined), elsewhere(true));
        let used = MemoryUse {
            range: "0x2000..0x2001".parse().expect("a range"),
            kind: UseKind::Mapped("phram".to_owned()),
        };
        log.uses = [used.clone()].into();
        assert_eq!(attributed(&log, Some(now)), node_0(&Access::Used(used)));
        let path = WritePath::Mmap;
        let lasting = Access::Allowed { path, pid: 7, comm: b"dd".to_vec() };
        let memory = Some(set("0x2000..0x2001"));
        log.add(Entry { memory, until: None, access: lasting.clone() });
        assert_eq!(attributed(&log, Some(now)), node_0(&lasting));
        let unreported = Access::Unreported { path: WritePath::Write, count: 3 };
        log.add(Entry { memory: None, until: Some(now), access: unreported.clone() });
        assert_eq!(attributed(&log, Some(now)), node_0(&unreported));
    }
}
