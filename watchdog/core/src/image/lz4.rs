//! The legacy format of lz4, in which kernels are packed.
//!
//! A magic number is followed by blocks. Each block has its packed size as 32 bits, then bytes that
//! unpack to 8 MiB. The last block unpacks to the rest (lib/decompress_unlz4.c).
//!
//! The frame decoder of `lz4_flex` 0.14 reads this format too, but accepts less than the kernel. It
//! refuses a magic number between blocks, and a block that grew when it was packed. This module
//! therefore uses the block decoder.

use std::io::{self, Read};

/// The legacy format's magic number, 0x184C2102. Joined files have it between blocks as well.
pub(super) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Bytes in a block when unpacked.
pub(super) const BLOCK: usize = 8 << 20;

/// Unpacks block by block.
pub(super) struct Decoder<'a> {
    packed: &'a [u8],
    /// One unpacked block. Its bytes from `next` to `end` are not read yet.
    block: Vec<u8>,
    next: usize,
    end: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self { packed, block: Vec::new(), next: 0, end: 0 }
    }

    /// Unpacks the next block, or skips a magic number. `None` if the block is damaged.
    fn unpack_block(&mut self) -> Option<()> {
        let (size, rest) = self.packed.split_first_chunk()?;
        if *size == MAGIC {
            self.packed = rest;
            return Some(());
        }
        let (block, rest) = rest.split_at_checked(u32::from_le_bytes(*size).try_into().ok()?)?;
        self.block.resize(BLOCK, 0);
        self.end = lz4_flex::block::decompress_into(block, &mut self.block).ok()?;
        (self.next, self.packed) = (0, rest);
        Some(())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.next == self.end && !self.packed.is_empty() {
            self.unpack_block().ok_or(io::Error::new(io::ErrorKind::InvalidData, "bad block"))?;
        }
        let mut left = self.block.get(self.next..self.end).unwrap_or_default();
        let count = left.read(buffer)?;
        self.next = self.next.saturating_add(count);
        Ok(count)
    }
}
