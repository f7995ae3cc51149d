//! The memory that the guard must protect, in as many ranges as the guard holds.

use watchdog_common::MAX_RANGES;

use super::Nodes;
use super::reach::warn;
use watchdog_core::memory::{MemoryMap, PhysRange, RangeSet};

/// Smaller pieces hold no kernel: x86-64 maps its image in pages of 2 MiB, and takes several.
const KERNEL_MINIMUM: u64 = 2 << 20;
/// The largest gap between two pieces that are guarded as one. Devices that are added later get
/// addresses in larger gaps.
const LARGEST_GAP: u64 = 1 << 30;

/// The memory that the guard must protect on a machine with this map.
///
/// If there are too many pieces, some are guarded together with the gap between them. Nobody uses
/// such a gap, so no legitimate write to it is denied. Of discovered nodes, pieces in which no
/// kernel fits may then be left out. If that does not suffice, the guard refuses the number.
pub(super) fn guarded(nodes: &Nodes, map: &MemoryMap) -> RangeSet {
    let own = map.lent_memory();
    let own: RangeSet = map.system_ram.ranges().iter().chain(own.ranges()).copied().collect();
    let memory = nodes.memory().difference(&own);
    let room = MAX_RANGES.saturating_sub(map.local_apic.ranges().len());
    let mut guarded = merged(&memory, room, &used(map, own));
    if matches!(nodes, Nodes::Discovered { .. }) {
        let all = guarded.size();
        guarded = without_small(guarded, room);
        let left_out = all - guarded.size();
        warn((left_out > 0).then(|| {
            format!(
                "{left_out} bytes of memory are not guarded: they lie in pieces too small for a \
                 kernel, and the guard holds at most {MAX_RANGES} ranges"
            )
        }));
    }
    map.local_apic.ranges().iter().for_each(|&range| guarded.insert(range));
    guarded
}

/// Memory that node 0 uses in any way, or may use: its `own`, devices', and what drivers claim.
fn used(map: &MemoryMap, own: RangeSet) -> RangeSet {
    let claimed = map.claimed.iter().map(|(range, _)| range);
    let listed = [&own, &map.devices, &map.persistent, &map.own_kernel];
    listed.into_iter().flat_map(RangeSet::ranges).chain(claimed).copied().collect()
}

/// The memory in at most `room` ranges, if gaps without `used` memory allow it. Fills the smallest
/// gaps first.
fn merged(memory: &RangeSet, room: usize, used: &RangeSet) -> RangeSet {
    let mut merged = memory.clone();
    let pairs = memory.ranges().windows(2);
    let gaps = pairs.filter_map(|pair| PhysRange::new(pair[0].end(), pair[1].start()));
    let mut gaps: Vec<_> =
        gaps.filter(|gap| gap.size() <= LARGEST_GAP && !used.overlaps(gap)).collect();
    gaps.sort_by_key(|gap| (gap.size(), gap.start()));
    let surplus = memory.ranges().len().saturating_sub(room);
    gaps.into_iter().take(surplus).for_each(|gap| merged.insert(gap));
    merged
}

/// The memory in at most `room` ranges, if enough of them are too small for a kernel. Leaves the
/// smallest ones out.
fn without_small(memory: RangeSet, room: usize) -> RangeSet {
    let surplus = memory.ranges().len().saturating_sub(room);
    let small = memory.ranges().iter().filter(|range| range.size() < KERNEL_MINIMUM);
    let mut small: Vec<_> = small.copied().collect();
    small.sort_by_key(|range| (range.size(), range.start()));
    let left_out: RangeSet = small.into_iter().take(surplus).collect();
    memory.difference(&left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchdog_core::memory::PhysAddr;

    fn set(ranges: &[&str]) -> RangeSet {
        ranges.iter().map(|range| range.parse::<PhysRange>().unwrap()).collect()
    }

    fn configured(memory: RangeSet) -> Nodes {
        Nodes::Configured(vec![("web".parse().unwrap(), memory)])
    }

    fn discovered(within: RangeSet) -> Nodes {
        Nodes::Discovered { prefix: "service", within }
    }

    /// Pieces of this size, each at a multiple of `distance`.
    fn pieces(count: u64, size: u64, distance: u64) -> RangeSet {
        let piece = |n| PhysRange::with_size(PhysAddr((n + 1) * distance), size).unwrap();
        (0..count).map(piece).collect()
    }

    fn machine() -> MemoryMap {
        MemoryMap { local_apic: set(&["0xfee00000..0xfee01000"]), ..MemoryMap::default() }
    }

    /// Check that the guard covers the nodes' memory outside of this kernel's RAM and of what that
    /// lends, and the local APIC.
    #[test]
    fn own_memory_is_left_out() {
        let map = MemoryMap { system_ram: set(&["0x1000..0x2000"]), ..machine() };
        let nodes = configured(set(&["0x0..0x1800", "0x3000..0x4000"]));
        let expected = "0x0..0x1000,0x3000..0x4000,0xfee00000..0xfee01000";
        assert_eq!(guarded(&nodes, &map).to_string(), expected);
    }

    /// Check that pieces that fit are guarded as they are, and that 72 pieces are merged across the
    /// smallest gaps, with all of the memory in them.
    #[test]
    fn many_pieces() {
        let few = pieces(63, 4 << 20, 16 << 20);
        assert_eq!(guarded(&configured(few.clone()), &machine()).size(), few.size() + 0x1000);
        let mut many = pieces(70, 4 << 20, 16 << 20);
        let near = ["0x80000000..0x80400000", "0x80401000..0x80800000", "0x80900000..0x80a00000"];
        set(&near).ranges().iter().for_each(|range| many.insert(*range));
        let guarded = guarded(&configured(many.clone()), &machine());
        assert_eq!(guarded.ranges().len(), MAX_RANGES);
        assert!(many.difference(&guarded).is_empty());
        assert!(guarded.covers(&"0x80000000..0x80a00000".parse().unwrap()));
    }

    /// Check that no gap is guarded that this kernel uses or a driver claims, and that the number
    /// then stays too large: the guard refuses it.
    #[test]
    fn gaps_in_use() {
        let many = pieces(72, 4 << 20, 16 << 20);
        let all = PhysRange::with_size(PhysAddr(0), 0x1_0000_0000).unwrap();
        let between = RangeSet::from_iter([all]).difference(&many);
        let claimed = between.ranges().iter().map(|gap| (*gap, "x".to_owned())).collect();
        for map in [
            MemoryMap { system_ram: between.clone(), ..machine() },
            MemoryMap { devices: between.clone(), ..machine() },
            MemoryMap { claimed, ..machine() },
        ] {
            assert_eq!(guarded(&discovered(many.clone()), &map).ranges().len(), 73);
        }
        let far = pieces(72, 4 << 20, 2 << 30);
        assert_eq!(guarded(&configured(far), &machine()).ranges().len(), 73);
    }

    /// Check that pieces without room for a kernel are left out of discovered memory if the rest
    /// then fits, and never of a configured node's.
    #[test]
    fn small_pieces() {
        let mut many = pieces(60, 4 << 20, 8 << 30);
        for n in 0..12 {
            let between = PhysAddr((n << 34) + (4 << 30));
            many.insert(PhysRange::with_size(between, (n + 1) << 12).unwrap());
        }
        let fits = guarded(&discovered(many.clone()), &machine());
        assert_eq!(fits.ranges().len(), MAX_RANGES);
        let left_out = many.difference(&fits);
        assert_eq!(left_out.size(), (1..=9).sum::<u64>() << 12, "the smallest nine");
        assert_eq!(guarded(&configured(many), &machine()).ranges().len(), 73);
    }
}
