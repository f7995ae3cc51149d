//! Decodes a fuzzer's input into memory.
//!
//! An input is a sequence of little-endian records. Each record writes to memory or describes a
//! property of it. Every sequence of bytes is an input. The missing bytes of an incomplete last
//! record are zero. Repetitions and ramps have records of their own. An input of a kilobyte can
//! therefore describe page tables that map a kernel, or a table of ten thousand names. A number in
//! a ramp has 2, 4 or 8 bytes: a `width` of 0, 1 or 2.
//!
//! | kind | fields | meaning |
//! |---|---|---|
//! | 0 | at `u32`, length `u16`, bytes | bytes |
//! | 1 | at `u32`, count `u16`, length `u8`, bytes | the same bytes `count` times |
//! | 2 | at `u32`, count `u16`, width `u8`, first `u64`, step `u64` | numbers that grow by `step` |
//! | 3 | first `u32`, count `u16`, model `u32` (page numbers) | pages equal to `model` |
//! | 4 | at `u32`, size `u32` | a hole: memory that cannot be read |
//! | 5 | at `u32`, size `u32` | memory to search besides the pages that are written |
//! | 6 | after `u16`, at `u32`, byte `u8` | a byte that changes after so many reads |

use watchdog_core::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange, RangeSet};

use crate::SparseMemory;

pub(crate) const BYTES: u8 = 0;
pub(crate) const REPEAT: u8 = 1;
pub(crate) const RAMP: u8 = 2;
pub(crate) const PAGES: u8 = 3;
pub(crate) const HOLE: u8 = 4;
pub(crate) const SEARCH: u8 = 5;
pub(crate) const CHANGE: u8 = 6;
const KINDS: u8 = 7;

const PAGE: usize = PAGE_SIZE as usize;
/// Largest amount of memory that is searched: more than the image of any kernel up to its tables.
const MAX_SEARCHED: u64 = 64 << 20;

/// The memory that an input describes.
#[derive(Debug)]
pub struct Input {
    /// Physical memory.
    pub memory: SparseMemory,
    /// The part of it that belongs to a node. All of it is readable.
    pub within: RangeSet,
}

impl Input {
    /// Decodes an input.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut records = Records(bytes);
        let mut memory = SparseMemory::default();
        let mut searched = RangeSet::new();
        while !records.0.is_empty() {
            match records.u8() % KINDS {
                SEARCH => {
                    let (at, size) = (records.u32(), records.u32());
                    let left = MAX_SEARCHED - searched.size();
                    let range = PhysRange::with_size(PhysAddr(at.into()), left.min(size.into()));
                    range.into_iter().for_each(|range| searched.insert(range));
                }
                HOLE => memory.hole(records.u32().into(), records.u32().into()),
                CHANGE => memory.change(records.u16(), records.u32().into(), records.u8()),
                kind => records.write(kind, &mut memory),
            }
        }
        memory.written().into_iter().for_each(|pages| searched.insert(pages));
        let within = searched.intersection(memory.ranges());
        Self { memory, within }
    }

    /// The written pages that can be read as a whole, with their physical addresses.
    pub fn pages(&self) -> impl Iterator<Item = (PhysAddr, Vec<u8>)> {
        let runs = self.memory.written().into_iter();
        let places = runs.flat_map(|run| (run.start().0..run.end().0).step_by(PAGE));
        places.filter_map(|at| {
            let mut page = vec![0; PAGE];
            self.memory.read(PhysAddr(at), &mut page).ok()?;
            Some((PhysAddr(at), page))
        })
    }

    /// Addresses of eight bytes that are `wanted`. They are multiples of four, and do not cross
    /// pages.
    pub fn places(&self, wanted: impl Fn(u64) -> bool) -> Vec<PhysAddr> {
        let mut places = Vec::new();
        for (at, page) in self.pages() {
            for (offset, bytes) in (0_u64..).zip(page.windows(8)).step_by(4) {
                let word = bytes.first_chunk().copied().map(u64::from_le_bytes);
                if word.is_some_and(&wanted) {
                    places.push(PhysAddr(at.0 + offset));
                }
            }
        }
        places
    }
}

/// The records that are still to be read.
struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// Applies a record that writes.
    fn write(&mut self, kind: u8, memory: &mut SparseMemory) {
        let (at, count) = (u64::from(self.u32()), self.u16());
        match kind {
            BYTES => memory.write(at, self.take(count.into())),
            REPEAT => {
                let length = self.u8().into();
                memory.write(at, &self.take(length).repeat(count.into()));
            }
            RAMP => {
                let width = 2 << (self.u8() % 3);
                let (mut value, step) = (self.u64(), self.u64());
                let mut numbers = Vec::new();
                for _ in 0..count {
                    numbers.extend_from_slice(&value.to_le_bytes()[..width]);
                    value = value.wrapping_add(step);
                }
                memory.write(at, &numbers);
            }
            PAGES => memory.repeat_page(at, count.into(), self.u32().into()),
            _ => {}
        }
    }

    /// The next `length` bytes, or as many as there are.
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self, width: usize) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(width);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }

    fn u64(&mut self) -> u64 {
        self.number(8)
    }
}
