//! Physical memory that a file holds in pieces.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{PhysAddr, PhysRange, RangeSet};

/// A stretch of memory that a file holds in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    memory: PhysRange,
    /// File offset of its first byte. No byte of the extent lies past the largest offset.
    offset: u64,
}

impl Extent {
    /// `memory` at `offset`, or `None` if its end would lie past the largest offset.
    pub(super) fn new(memory: PhysRange, offset: u64) -> Option<Self> {
        offset.checked_add(memory.size())?;
        Some(Self { memory, offset })
    }

    /// The file offset of the byte at `at`, which must lie in the extent.
    fn offset_of(&self, at: PhysAddr) -> u64 {
        self.offset.saturating_add(at.0.saturating_sub(self.memory.start().0))
    }
}

/// Extents in ascending order, without overlaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents(Vec<Extent>);

impl Extents {
    /// Merges the extents of a list. If several hold one address, the first in the list serves it.
    /// Takes O(n log n) time, however they overlap.
    pub(super) fn merge(list: &[Extent]) -> Self {
        let mut borders: Vec<PhysAddr> =
            list.iter().flat_map(|extent| [extent.memory.start(), extent.memory.end()]).collect();
        borders.sort_unstable();
        borders.dedup();
        let mut by_start: Vec<(usize, &Extent)> = list.iter().enumerate().collect();
        by_start.sort_by_key(|(_, extent)| extent.memory.start());
        let mut waiting = by_start.into_iter().peekable();
        // The extents that have begun. The one that comes first in the list is on top.
        let mut begun: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
        let mut merged = Self::default();
        for border in borders.windows(2) {
            let &[from, to] = border else { continue };
            while let Some((n, _)) = waiting.next_if(|(_, next)| next.memory.start() <= from) {
                begun.push(Reverse(n));
            }
            let server = loop {
                let Some(first) = begun.peek().and_then(|Reverse(n)| list.get(*n)) else {
                    break None;
                };
                if first.memory.end() > from {
                    break Some(first);
                }
                begun.pop();
            };
            if let (Some(server), Some(memory)) = (server, PhysRange::new(from, to)) {
                merged.push(Extent { memory, offset: server.offset_of(from) });
            }
        }
        merged
    }

    /// Appends an extent that lies above all others. Extends the last one if memory and file
    /// continue.
    fn push(&mut self, next: Extent) {
        if let Some(last) = self.0.last_mut()
            && last.memory.end() == next.memory.start()
            && last.offset_of(last.memory.end()) == next.offset
            && let Some(memory) = PhysRange::new(last.memory.start(), next.memory.end())
        {
            last.memory = memory;
        } else {
            self.0.push(next);
        }
    }

    /// All memory that the extents hold.
    pub(super) fn ranges(&self) -> RangeSet {
        self.0.iter().map(|extent| extent.memory).collect()
    }

    /// Fills `buffer` with the bytes that `file` holds for the memory from `at` on.
    ///
    /// # Errors
    /// The operating system's error, or `InvalidInput` if no extent holds a part of the memory.
    pub(super) fn read(&self, file: &File, at: PhysAddr, buffer: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (at, buffer);
        while !rest.is_empty() {
            let (part, offset) = self.find(at).ok_or(io::ErrorKind::InvalidInput)?;
            let whole = usize::try_from(part.size()).unwrap_or(usize::MAX);
            let count = whole.min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            file.read_exact_at(now, offset)?;
            rest = later;
            at = at.checked_add(count as u64).ok_or(io::ErrorKind::InvalidInput)?;
        }
        Ok(())
    }

    /// The memory from `at` to the end of its extent, and the file offset of its first byte.
    fn find(&self, at: PhysAddr) -> Option<(PhysRange, u64)> {
        let n = self.0.partition_point(|extent| extent.memory.end() <= at);
        let extent = self.0.get(n).filter(|extent| extent.memory.contains(at))?;
        Some((PhysRange::new(at, extent.memory.end())?, extent.offset_of(at)))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Check the merge of random extents, most of which overlap. Every address must come from the
    /// first extent of the list that holds it.
    #[test]
    fn merge_agrees_with_the_list() {
        let mut random = StdRng::seed_from_u64(0x6d65_7267);
        for round in 0..2000 {
            let list: Vec<Extent> = (0..random.random_range(0..12))
                .filter_map(|_| {
                    let start = PhysAddr(random.random_range(0..64));
                    let memory = PhysRange::with_size(start, random.random_range(0..24))?;
                    Extent::new(memory, random.random_range(0..200))
                })
                .collect();
            let merged = Extents::merge(&list);
            for at in (0..100).map(PhysAddr) {
                let first = list.iter().find(|extent| extent.memory.contains(at));
                let expected = first.map(|extent| extent.offset + at.0 - extent.memory.start().0);
                assert_eq!(
                    merged.find(at).map(|(_, offset)| offset),
                    expected,
                    "round {round}, {at}: {list:?}"
                );
                assert_eq!(merged.ranges().find(at).is_some(), expected.is_some());
            }
        }
    }

    /// Check that 100,000 overlapping extents merge in reasonable time, and into one extent where
    /// file and memory continue.
    #[test]
    fn many_overlapping() {
        let extent = |n: u64| {
            let memory = PhysRange::new(PhysAddr(n), PhysAddr(1 << 40)).unwrap();
            Extent::new(memory, n + 7).unwrap()
        };
        let descending: Vec<Extent> = (0..100_000).rev().map(extent).collect();
        assert_eq!(Extents::merge(&descending), Extents(vec![extent(0)]));
    }

    /// Check that an extent whose end has no offset is refused.
    #[test]
    fn offsets_do_not_wrap() {
        let memory = PhysRange::with_size(PhysAddr(0), 2).unwrap();
        assert!(Extent::new(memory, u64::MAX - 1).is_none());
        assert!(Extent::new(memory, u64::MAX - 2).is_some());
    }
}
