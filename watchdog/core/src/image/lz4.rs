//! lz4's legacy format, in which kernels are packed.
//!
//! A magic number, then blocks: their packed size as 32 bits, and bytes that unpack to 8 MiB, in
//! the last block to what is left (lib/decompress_unlz4.c). The frame decoder of `lz4_flex` 0.14
//! reads this format too, but less of it than the kernel does: it refuses a magic number between
//! blocks, and a block that packing made larger. So its block decoder is used here.

use std::io::{self, Read};

/// The legacy format's magic number, 0x184C2102. It may stand between blocks as well, where files
/// were joined.
pub(super) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Bytes in a block when unpacked.
pub(super) const BLOCK: usize = 8 << 20;

/// Unpacks block by block.
pub(super) struct Decoder<'a> {
    packed: &'a [u8],
    /// One block, unpacked, of which bytes from `next` to `end` are not read yet.
    block: Vec<u8>,
    next: usize,
    end: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self { packed, block: Vec::new(), next: 0, end: 0 }
    }

    /// Unpacks the next block; `None` when it cannot be.
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
