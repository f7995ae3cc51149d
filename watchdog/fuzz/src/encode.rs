//! Encodes memory as a fuzzer's input, to write seeds.

use watchdog_core::memory::PAGE_SIZE;

use crate::input::{BYTES, CHANGE, HOLE, PAGES, RAMP, REPEAT, SEARCH};

/// Bytes of a record's kind, place and count.
const HEAD: usize = 7;
/// Largest count of numbers, or repetitions, in one record.
const MOST: usize = u16::MAX as usize;
/// Longest byte pattern that is tried as a repetition. The names of made-up functions repeat.
const MOST_REPEATED: usize = 16;

/// An input under construction. Physical addresses are below 4 GiB.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// The finished input.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Adds bytes at physical address `at`.
    pub fn bytes(&mut self, at: u64, bytes: &[u8]) {
        for (n, part) in bytes.chunks(usize::from(u16::MAX)).enumerate() {
            let length = part.len() as u16;
            self.head(BYTES, at + n as u64 * u64::from(u16::MAX), length);
            self.0.extend(part);
        }
    }

    /// Adds `bytes`, 255 at most, `count` times.
    pub fn repeat(&mut self, at: u64, count: u16, bytes: &[u8]) {
        self.head(REPEAT, at, count);
        self.0.push(bytes.len() as u8);
        self.0.extend(bytes);
    }

    /// Adds `count` numbers of `width` (2, 4 or 8) bytes, each `step` larger than the last.
    pub fn ramp(&mut self, at: u64, count: u16, width: usize, first: u64, step: u64) {
        self.head(RAMP, at, count);
        self.0.push(width.ilog2() as u8 - 1);
        self.0.extend(first.to_le_bytes());
        self.0.extend(step.to_le_bytes());
    }

    /// Adds `count` pages from physical address `at` on. Each equals the page at `model` as written
    /// so far.
    pub fn pages(&mut self, at: u64, count: u16, model: u64) {
        self.head(PAGES, at / PAGE_SIZE, count);
        self.0.extend(((model / PAGE_SIZE) as u32).to_le_bytes());
    }

    /// Makes `size` bytes from `at` on unreadable.
    pub fn hole(&mut self, at: u64, size: u64) {
        self.range(HOLE, at, size);
    }

    /// Adds `size` bytes from `at` on to the search, even if nothing is written there.
    pub fn search(&mut self, at: u64, size: u64) {
        self.range(SEARCH, at, size);
    }

    /// Changes the byte at `at` to `byte` after `after` reads.
    pub fn change(&mut self, after: u16, at: u64, byte: u8) {
        self.0.push(CHANGE);
        self.0.extend(after.to_le_bytes());
        self.0.extend((at as u32).to_le_bytes());
        self.0.push(byte);
    }

    /// Adds a page table, or other `u64` values.
    pub fn table(&mut self, at: u64, entries: &[u64]) {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        self.memory(at, &bytes);
    }

    /// Adds memory from physical address `at` on. Ramps and repetitions become records of their
    /// kind, and zeros are left out.
    pub fn memory(&mut self, at: u64, memory: &[u8]) {
        let mut plain = 0;
        let mut n = 0;
        while n < memory.len() {
            let rest = &memory[n..];
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            let short = Short::of(at + n as u64, rest).filter(|_| zeros < HEAD);
            let length = short.as_ref().map_or(zeros, |short| short.length());
            if short.is_none() && zeros < HEAD && zeros < rest.len() {
                n += 1;
                continue;
            }
            self.bytes(at + plain as u64, &memory[plain..n]);
            match short {
                Some(Short::Ramp { count, width, first, step }) => {
                    self.ramp(at + n as u64, count as u16, width, first, step);
                }
                Some(Short::Repeat { count, bytes }) => {
                    self.repeat(at + n as u64, count as u16, bytes);
                }
                None => {}
            }
            n += length;
            plain = n;
        }
        self.bytes(at + plain as u64, &memory[plain..]);
    }

    fn range(&mut self, kind: u8, at: u64, size: u64) {
        self.0.push(kind);
        self.0.extend((at as u32).to_le_bytes());
        self.0.extend((size as u32).to_le_bytes());
    }

    fn head(&mut self, kind: u8, at: u64, count: u16) {
        self.0.push(kind);
        self.0.extend((at as u32).to_le_bytes());
        self.0.extend(count.to_le_bytes());
    }
}

/// Memory that a record describes in fewer bytes than the memory has.
enum Short<'a> {
    Ramp { count: usize, width: usize, first: u64, step: u64 },
    Repeat { count: usize, bytes: &'a [u8] },
}

impl<'a> Short<'a> {
    /// The record that saves most bytes at the start of `memory`, which is at physical address
    /// `at`. Numbers are at multiples of their width, where a compiler puts them.
    fn of(at: u64, memory: &'a [u8]) -> Option<Self> {
        let widths = [2, 4, 8].into_iter().filter(|width| at.is_multiple_of(*width as u64));
        let ramps = widths.filter_map(|width| Self::ramp(memory, width));
        let repeats = (1..=MOST_REPEATED).filter_map(|length| Self::repeat(memory, length));
        ramps.chain(repeats).filter(|short| short.saved() > 0).max_by_key(Self::saved)
    }

    fn ramp(memory: &[u8], width: usize) -> Option<Self> {
        let number = |bytes: &[u8]| {
            let mut all = [0; 8];
            all[..width].copy_from_slice(bytes);
            u64::from_le_bytes(all)
        };
        let mut numbers = memory.chunks_exact(width).map(number).take(MOST);
        let (first, second) = (numbers.next()?, numbers.next()?);
        let (step, mask) = (second.wrapping_sub(first), u64::MAX >> (64 - 8 * width));
        let follows =
            |(n, number): &(u64, u64)| first.wrapping_add(step.wrapping_mul(*n)) & mask == *number;
        let count = 2 + (2..).zip(numbers).take_while(follows).count();
        Some(Self::Ramp { count, width, first, step })
    }

    fn repeat(memory: &'a [u8], length: usize) -> Option<Self> {
        let bytes = memory.get(..length)?;
        let count = memory.chunks_exact(length).take(MOST).take_while(|it| *it == bytes).count();
        Some(Self::Repeat { count, bytes })
    }

    /// Bytes of memory that the record describes.
    const fn length(&self) -> usize {
        match self {
            Self::Ramp { count, width, .. } => *count * *width,
            Self::Repeat { count, bytes } => *count * bytes.len(),
        }
    }

    /// Bytes that the record saves.
    const fn saved(&self) -> isize {
        let record = match self {
            Self::Ramp { .. } => HEAD + 1 + 16,
            Self::Repeat { bytes, .. } => HEAD + 1 + bytes.len(),
        };
        self.length() as isize - record as isize
    }
}
