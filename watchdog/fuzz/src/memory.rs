//! Sparse physical memory, small enough for an input of a kilobyte.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use watchdog_core::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange, RangeSet, ReadError};

use crate::bound::count;

/// Bytes of physical memory, from address 0 on.
const SIZE: u64 = 1 << 32;
/// Number of pages that can have contents: 8 MiB. That is enough for the symbol tables of a real
/// kernel, and for more signs of one kind than a search follows. The bound keeps an input from
/// being slow because of its own size.
const MAX_PAGES: usize = 2048;
/// Numbers of holes and changes that take effect, bounded for the same reason.
const MAX_HOLES: usize = 32;
const MAX_CHANGES: usize = 64;

type Page = [u8; PAGE_SIZE as usize];

/// 4 GiB of physical memory, zero except for a few pages. It may have holes. It may change while it
/// is read, as the memory of a running kernel does.
#[derive(Debug)]
pub struct SparseMemory {
    ranges: RangeSet,
    pages: BTreeMap<u64, Arc<Page>>,
    holes: usize,
    changes: Vec<Change>,
    reads: AtomicU32,
    at_rest: bool,
}

/// A byte that changes after so many reads.
#[derive(Clone, Copy, Debug)]
struct Change {
    after: u32,
    at: u64,
    byte: u8,
}

impl Default for SparseMemory {
    fn default() -> Self {
        Self {
            ranges: PhysRange::with_size(PhysAddr(0), SIZE).into_iter().collect(),
            pages: BTreeMap::new(),
            holes: 0,
            changes: Vec::new(),
            reads: AtomicU32::new(0),
            at_rest: false,
        }
    }
}

impl SparseMemory {
    /// Writes bytes at physical address `at`. Bytes beyond the bounds are left out.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut at = at;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at % PAGE_SIZE) as usize;
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE as usize - offset));
            let Some(page) = self.page_mut(at / PAGE_SIZE) else { return };
            page[offset..offset + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
    }

    fn page_mut(&mut self, number: u64) -> Option<&mut Page> {
        let may_grow = self.pages.len() < MAX_PAGES && number < SIZE / PAGE_SIZE;
        if !may_grow && !self.pages.contains_key(&number) {
            return None;
        }
        let page = self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE_SIZE as usize]));
        Some(Arc::make_mut(page))
    }

    /// Makes `count` pages from page number `first` on equal to page `model` in its current state.
    pub(crate) fn repeat_page(&mut self, first: u64, count: u64, model: u64) {
        let Some(page) = self.pages.get(&model).cloned() else { return };
        for number in (first..first + count).take_while(|number| *number < SIZE / PAGE_SIZE) {
            if self.pages.len() >= MAX_PAGES {
                return;
            }
            self.pages.insert(number, Arc::clone(&page));
        }
    }

    /// Makes `size` bytes from `at` on unreadable.
    pub(crate) fn hole(&mut self, at: u64, size: u64) {
        let hole = PhysRange::with_size(PhysAddr(at), size);
        if self.holes < MAX_HOLES {
            self.holes += 1;
            self.ranges = self.ranges.difference(&hole.into_iter().collect());
        }
    }

    /// Changes the byte at `at` to `byte` after `after` reads.
    pub(crate) fn change(&mut self, after: u16, at: u64, byte: u8) {
        if self.changes.len() < MAX_CHANGES {
            self.changes.push(Change { after: after.into(), at, byte });
        }
    }

    /// Makes the memory report that it is at rest, whether or not it changes.
    pub fn set_at_rest(&mut self) {
        self.at_rest = true;
    }

    /// Whether no byte changes while it is read.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.changes.is_empty()
    }

    /// The ranges of pages with contents.
    pub(crate) fn written(&self) -> Vec<PhysRange> {
        let mut runs: Vec<PhysRange> = Vec::new();
        for page in self.pages.keys().map(|number| number * PAGE_SIZE) {
            let start = runs.pop_if(|run| run.end() == PhysAddr(page)).map(|run| run.start());
            let end = PhysAddr(page + PAGE_SIZE);
            runs.extend(PhysRange::new(start.unwrap_or(PhysAddr(page)), end));
        }
        runs
    }
}

impl Memory for SparseMemory {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn is_at_rest(&self) -> bool {
        self.at_rest
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let length = buffer.len() as u64;
        let wanted = PhysRange::with_size(at, length).filter(|range| self.ranges.covers(range));
        let outside = || ReadError::Outside { at, length, source_name: "input".to_owned() };
        let wanted = wanted.ok_or_else(outside)?;
        let (start, end) = (wanted.start().0, wanted.end().0);
        count(buffer.len());
        buffer.fill(0);
        let numbers =
            (Bound::Included(start / PAGE_SIZE), Bound::Excluded(end.div_ceil(PAGE_SIZE)));
        for (number, page) in self.pages.range(numbers) {
            let page_at = number * PAGE_SIZE;
            let (from, to) = (start.max(page_at), end.min(page_at + PAGE_SIZE));
            buffer[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&page[(from - page_at) as usize..(to - page_at) as usize]);
        }
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        for change in self.changes.iter().filter(|change| change.after <= reads) {
            if wanted.contains(PhysAddr(change.at)) {
                buffer[(change.at - start) as usize] = change.byte;
            }
        }
        Ok(())
    }
}
