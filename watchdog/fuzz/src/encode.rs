//! From memory to a fuzzer's input: how seeds are written.

use watchdog_core::memory::PAGE_SIZE;

use crate::input::{BYTES, CHANGE, HOLE, PAGES, RAMP, REPEAT, SEARCH};

/// Bytes that a ramp's record takes; what it would not shorten is written as it is.
const RAMP_RECORD: usize = 24;

/// An input in the making. Physical addresses are below 4 GiB.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// The input.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Bytes at physical `at`.
    pub fn bytes(&mut self, at: u64, bytes: &[u8]) {
        for (n, part) in bytes.chunks(usize::from(u16::MAX)).enumerate() {
            let length = part.len() as u16;
            self.head(BYTES, at + n as u64 * u64::from(u16::MAX), length);
            self.0.extend(part);
        }
    }

    /// The same bytes, 255 at most, `count` times.
    pub fn repeat(&mut self, at: u64, count: u16, bytes: &[u8]) {
        self.head(REPEAT, at, count);
        self.0.push(bytes.len() as u8);
        self.0.extend(bytes);
    }

    /// `count` numbers of `width` (2, 4 or 8) bytes, each `step` more than the last.
    pub fn ramp(&mut self, at: u64, count: u16, width: usize, first: u64, step: u64) {
        self.head(RAMP, at, count);
        self.0.push(width.ilog2() as u8 - 1);
        self.0.extend(first.to_le_bytes());
        self.0.extend(step.to_le_bytes());
    }

    /// `count` pages from physical `at` on, equal to the one at `model` as it is so far.
    pub fn pages(&mut self, at: u64, count: u16, model: u64) {
        self.head(PAGES, at / PAGE_SIZE, count);
        self.0.extend(((model / PAGE_SIZE) as u32).to_le_bytes());
    }

    /// `size` bytes from `at` on cannot be read.
    pub fn hole(&mut self, at: u64, size: u64) {
        self.range(HOLE, at, size);
    }

    /// `size` bytes from `at` on are searched though nothing is written there.
    pub fn search(&mut self, at: u64, size: u64) {
        self.range(SEARCH, at, size);
    }

    /// The byte at `at` is `byte` after so many reads.
    pub fn change(&mut self, after: u16, at: u64, byte: u8) {
        self.0.push(CHANGE);
        self.0.extend(after.to_le_bytes());
        self.0.extend((at as u32).to_le_bytes());
        self.0.push(byte);
    }

    /// A page table, or anything else made of `u64`: ramps as such, and no zeros.
    pub fn table(&mut self, at: u64, entries: &[u64]) {
        let mut plain = 0;
        let mut n = 0;
        while n < entries.len() {
            let length = ramp_length(&entries[n..]);
            let is_zero = entries[n] == 0;
            if !is_zero && length * 8 <= RAMP_RECORD {
                n += 1;
                continue;
            }
            self.entries(at, entries, plain..n);
            if is_zero {
                n += entries[n..].iter().take_while(|entry| **entry == 0).count();
            } else {
                let step = entries[n + 1].wrapping_sub(entries[n]);
                self.ramp(at + n as u64 * 8, length as u16, 8, entries[n], step);
                n += length;
            }
            plain = n;
        }
        self.entries(at, entries, plain..n);
    }

    fn entries(&mut self, at: u64, entries: &[u64], which: std::ops::Range<usize>) {
        if !which.is_empty() {
            let place = at + which.start as u64 * 8;
            let bytes: Vec<_> = entries[which].iter().flat_map(|e| e.to_le_bytes()).collect();
            self.bytes(place, &bytes);
        }
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

/// How many entries go on as the first two do.
fn ramp_length(entries: &[u64]) -> usize {
    let step = |pair: &[u64]| pair[1].wrapping_sub(pair[0]);
    let Some(first) = entries.get(..2).map(step) else { return entries.len() };
    1 + entries.windows(2).take_while(|pair| step(pair) == first).count()
}
