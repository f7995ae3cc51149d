//! The format of lzop, in which kernels are packed by lzo.
//!
//! A header is followed by blocks. Each block has its unpacked size, its packed size and a checksum
//! of the unpacked bytes, 32 bits each with the highest byte first. An unpacked size of 0 ends the
//! file (lib/decompress_unlzo.c). A block of equal sizes is not packed. The others are LZO1X
//! streams, which Documentation/staging/lzo.rst describes.

use std::io::{self, Read};

/// The start of a file.
pub(super) const MAGIC: [u8; 9] = *b"\x89LZO\0\r\n\x1a\n";
/// Most bytes of an unpacked block.
pub(super) const BLOCK: usize = 256 << 10;
/// The first version whose header has a level and a longer time.
const WITH_LEVEL: u16 = 0x0940;
/// `F_H_FILTER`: four bytes more in the header.
const HAS_FILTER: u32 = 0x800;

/// Unpacks block by block.
pub(super) struct Decoder<'a> {
    packed: &'a [u8],
    /// One unpacked block. Its bytes from `next` on are not read yet.
    block: Vec<u8>,
    next: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(file: &'a [u8]) -> io::Result<Self> {
        let packed = behind_header(file).ok_or_else(|| damaged("bad header"))?;
        Ok(Self { packed, block: Vec::new(), next: 0 })
    }

    /// Unpacks the next block. `None` if it is damaged.
    fn unpack_block(&mut self) -> Option<()> {
        let (size, rest) = self.packed.split_first_chunk()?;
        let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
        (self.next, self.packed) = (0, &[]);
        self.block.clear();
        if size == 0 {
            return Some(());
        }
        let (packed, rest) = rest.split_first_chunk()?;
        let packed = usize::try_from(u32::from_be_bytes(*packed)).ok()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let (block, rest) = rest.split_at_checked(packed)?;
        if size > BLOCK || packed > size {
            return None;
        }
        if packed == size {
            self.block.extend_from_slice(block);
        } else {
            expand(block, size, &mut self.block)?;
        }
        self.packed = rest;
        let whole = self.block.len() == size;
        (whole && adler32(&self.block) == u32::from_be_bytes(*checksum)).then_some(())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.next >= self.block.len() && !self.packed.is_empty() {
            self.unpack_block().ok_or_else(|| damaged("bad block"))?;
        }
        let mut left = self.block.get(self.next..).unwrap_or_default();
        let count = left.read(buffer)?;
        self.next = self.next.saturating_add(count);
        Ok(count)
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The blocks. The header holds versions, a method, flags, the mode, time and name of the packed
/// file, and a checksum.
fn behind_header(file: &[u8]) -> Option<&[u8]> {
    let rest = file.strip_prefix(&MAGIC)?;
    let (version, rest) = rest.split_first_chunk()?;
    let has_level = u16::from_be_bytes(*version) >= WITH_LEVEL;
    let (flags, rest) = rest.get(if has_level { 6 } else { 5 }..)?.split_first_chunk()?;
    let filter = if u32::from_be_bytes(*flags) & HAS_FILTER == 0 { 0 } else { 4 };
    let times = if has_level { 12_usize } else { 8 };
    let (name, rest) = rest.get(times.saturating_add(filter)..)?.split_first()?;
    rest.get(usize::from(*name).saturating_add(4)..)
}

/// The checksum that lzop stores for a block by default (RFC 1950).
pub(super) fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in bytes {
        low = low.wrapping_add(u32::from(*byte)) % MODULUS;
        high = high.wrapping_add(low) % MODULUS;
    }
    high << 16 | low
}

/// The rest of an LZO1X stream.
struct Stream<'a>(&'a [u8]);

impl Stream<'_> {
    fn byte(&mut self) -> Option<usize> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*byte))
    }

    /// Two bytes: a distance, and in the low two bits how many literals follow.
    fn distance(&mut self) -> Option<(usize, usize)> {
        let low = self.byte()?;
        let word = self.byte()? << 8 | low;
        Some((word >> 2, word & 3))
    }

    /// A length: the bits of the instruction or, if these are 0, `all` of them and the bytes up to
    /// the first that is not 0, each of which stands for 255 more.
    fn length(&mut self, bits: usize, all: usize) -> Option<usize> {
        if bits != 0 {
            return Some(bits);
        }
        let mut length = all;
        loop {
            match self.byte()? {
                0 => length = length.checked_add(255)?,
                last => return length.checked_add(last),
            }
        }
    }

    /// Copies literals.
    fn copy(&mut self, count: usize, most: usize, unpacked: &mut Vec<u8>) -> Option<()> {
        let (literals, rest) = self.0.split_at_checked(count)?;
        if unpacked.len().checked_add(count)? > most {
            return None;
        }
        unpacked.extend_from_slice(literals);
        self.0 = rest;
        Some(())
    }
}

/// Unpacks an LZO1X stream to at most `most` bytes. `None` if it is damaged.
fn expand(packed: &[u8], most: usize, unpacked: &mut Vec<u8>) -> Option<()> {
    let mut stream = Stream(packed);
    // How many literals the last instruction copied: up to 3, or 4 for more.
    let mut literals = 0_usize;
    // A first byte above 17 is a number of literals.
    if let Some(count) = packed.first().and_then(|first| first.checked_sub(17)).filter(|n| *n > 0) {
        stream.byte()?;
        stream.copy(count.into(), most, unpacked)?;
        literals = usize::from(count).min(4);
    }
    loop {
        let code = stream.byte()?;
        let (distance, length, follow) = match code {
            0..=15 if literals == 0 => {
                let count = stream.length(code, 15)?.checked_add(3)?;
                stream.copy(count, most, unpacked)?;
                literals = 4;
                continue;
            }
            0..=15 => {
                let (base, length) = if literals < 4 { (1, 2) } else { (2049_usize, 3) };
                let low = base.saturating_add(code >> 2);
                ((stream.byte()? << 2).saturating_add(low), length, code & 3)
            }
            16..=31 => {
                let length = stream.length(code & 7, 7)?.checked_add(2)?;
                let (distance, follow) = stream.distance()?;
                let distance = distance.saturating_add((code & 8) << 11);
                if distance == 0 {
                    return stream.0.is_empty().then_some(());
                }
                (distance.saturating_add(16384), length, follow)
            }
            32..=63 => {
                let length = stream.length(code & 31, 31)?.checked_add(2)?;
                let (distance, follow) = stream.distance()?;
                (distance.saturating_add(1), length, follow)
            }
            _ => {
                let low = (code >> 2 & 7).saturating_add(1);
                let distance = (stream.byte()? << 3).saturating_add(low);
                (distance, (code >> 5).saturating_add(1), code & 3)
            }
        };
        repeat(distance, length, most, unpacked)?;
        stream.copy(follow, most, unpacked)?;
        literals = follow;
    }
}

/// Copies `length` bytes from `distance` before the end. The two may overlap.
fn repeat(distance: usize, length: usize, most: usize, unpacked: &mut Vec<u8>) -> Option<()> {
    let start = unpacked.len().checked_sub(distance)?;
    if unpacked.len().checked_add(length)? > most {
        return None;
    }
    for at in start..start.checked_add(length)? {
        let byte = *unpacked.get(at)?;
        unpacked.push(byte);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up text that lzop 1.04 packed, with the end of the file.
    const PACKED: &[u8] = include_bytes!("tests/packed.lzo");

    fn text() -> Vec<u8> {
        let line = |n: u32| {
            let number = n % 700;
            format!("{number}: the kernel text of node {} is at {:#x}\n", n % 7, number * number)
        };
        let near: String = (0..7000).map(line).collect();
        let far = near[..30_000].to_owned();
        [near.as_bytes(), &[0; 70_000], far.as_bytes()].concat()
    }

    /// Check that what lzop packed is unpacked: short and long distances, runs, several blocks.
    #[test]
    fn packed_by_lzop() {
        let mut unpacked = Vec::new();
        Decoder::new(PACKED).unwrap().read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == text() && unpacked.len() > BLOCK);
    }

    /// Check that damage anywhere is found by the checksum, and causes no panic.
    #[test]
    fn damaged() {
        for at in (0..PACKED.len()).step_by(7) {
            let mut file = PACKED.to_vec();
            file[at] ^= 0x15;
            let mut unpacked = Vec::new();
            let read = Decoder::new(&file).and_then(|mut it| it.read_to_end(&mut unpacked));
            assert!(read.is_err() || unpacked == text() || at < 64, "byte {at}");
            let cut = Decoder::new(&PACKED[..at]).and_then(|mut it| it.read_to_end(&mut unpacked));
            assert!(cut.is_err() || at < PACKED.len(), "cut to {at}");
        }
    }

    /// Check that a stream cannot unpack to more than its block, nor refer to bytes before it.
    #[test]
    fn bounds() {
        let mut unpacked = Vec::new();
        // One literal, then a run of 2,000 bytes of it.
        let run = [18, b'x', 32, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 17, 0, 0];
        assert!(expand(&run, 3000, &mut unpacked).is_some(), "{}", unpacked.len());
        assert!(unpacked.iter().all(|byte| *byte == b'x'));
        assert!(expand(&run, 1000, &mut Vec::new()).is_none());
        assert!(expand(&[18, b'x', 64, 1, 17, 0, 0], 3000, &mut Vec::new()).is_none());
    }
}
