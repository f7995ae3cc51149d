//! A raw image, or the live RAM file of a virtual machine.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::extents::{Extent, Extents};
use super::reading::admit;
use super::refusal::Refusal;
use super::{Memory, PhysAddr, PhysRange, RangeSet, RawPiece, ReadError, foreign, image, pieces};

/// Physical memory in a file, byte for byte: from one physical address on, or in pieces.
#[derive(Debug)]
pub struct RawImage {
    file: File,
    path: PathBuf,
    extents: Extents,
    ranges: RangeSet,
}

impl RawImage {
    /// Opens `path`, whose first byte is physical address `base`.
    ///
    /// # Errors
    /// When the file cannot be opened, is neither a regular file nor a block device, or is empty.
    /// When it begins like a file of another format.
    pub fn open(path: &Path, base: PhysAddr) -> io::Result<Self> {
        let (file, size) = image::open(path)?;
        let range = PhysRange::with_size(base, size).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a memory image cannot have {size} bytes at physical {base}"),
            )
        })?;
        if let Some(advice) = foreign::advice_for(&file, size) {
            // Memory may begin with any bytes, and its kernel may choose them.
            let sentence = format!(
                "{advice}. If it is nevertheless memory byte by byte, give its length: \
                 raw:FILE@{base}+{size:#x}"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let extents: Vec<Extent> = Extent::new(range, 0).into_iter().collect();
        Ok(Self::new(file, path, &extents))
    }

    /// Opens `path`, which holds these pieces of memory one after the other.
    ///
    /// # Errors
    /// When the file cannot be opened, or the pieces do not fit the file or each other.
    pub fn open_pieces(path: &Path, pieces: &[RawPiece]) -> io::Result<Self> {
        let (file, size) = image::open(path)?;
        let extents = pieces::extents(pieces, size)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self::new(file, path, &extents))
    }

    fn new(file: File, path: &Path, extents: &[Extent]) -> Self {
        let extents = Extents::merge(extents);
        Self { file, path: path.to_owned(), ranges: extents.ranges(), extents }
    }
}

impl Memory for RawImage {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        let missing = self.ranges.first_missing(range)?;
        Some(image::left_out(&self.ranges, missing))
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let source_name = || format!("raw:{}", self.path.display());
        let length = buffer.len() as u64;
        if admit(self, at, buffer.len(), source_name)?.is_none() {
            return Ok(());
        }
        self.extents.read(&self.file, at, buffer).map_err(|error| ReadError::Io {
            at,
            length,
            source_name: source_name(),
            error,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Reason;
    use super::*;

    /// Check that an image serves its bytes from its base on, and refuses addresses below it, above
    /// it and past the address space.
    #[test]
    fn bytes_from_the_base_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"memory").unwrap();
        let image = RawImage::open(file.path(), PhysAddr(0x1000)).unwrap();
        let mut bytes = [0; 3];
        image.read(PhysAddr(0x1003), &mut bytes).unwrap();
        assert_eq!(&bytes, b"ory");
        image.read(PhysAddr(0), &mut []).unwrap();
        for (at, part) in [(0xfff, "0xfff..0x1000"), (0x1004, "0x1006..0x1007")] {
            let Err(ReadError::Refused { refusal, .. }) = image.read(PhysAddr(at), &mut bytes)
            else {
                panic!("{at:#x} was read");
            };
            assert_eq!(refusal.range.to_string(), part);
            assert!(matches!(refusal.reason, Reason::OutsideImage(_)), "{refusal}");
        }
        let past = image.read(PhysAddr(u64::MAX), &mut bytes);
        assert!(matches!(past, Err(ReadError::Outside { .. })));
    }

    /// Check that each piece is served at its address, and a read across the hole is refused.
    #[test]
    fn pieces() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [[b'l'; 0x2000], [b'h'; 0x2000]].concat()).unwrap();
        let piece = |base, size| RawPiece { base: PhysAddr(base), size };
        let pieces = [piece(0, Some(0x2000)), piece(1 << 32, None)];
        let image = RawImage::open_pieces(file.path(), &pieces).unwrap();
        assert_eq!(image.ranges().to_string(), "0x0..0x2000,0x100000000..0x100002000");
        let mut bytes = [0; 0x1000];
        for (at, expected) in [(0x1000, b'l'), (1 << 32, b'h'), ((1 << 32) + 0x1000, b'h')] {
            image.read(PhysAddr(at), &mut bytes).unwrap();
            assert_eq!(bytes, [expected; 0x1000], "{at:#x}");
        }
        let Err(ReadError::Refused { refusal, .. }) = image.read(PhysAddr(0x1800), &mut bytes)
        else {
            panic!("the hole was read");
        };
        assert!(matches!(refusal.reason, Reason::Hole), "{refusal}");
        let error = RawImage::open_pieces(file.path(), &pieces[..1]).unwrap_err();
        assert!(error.to_string().contains("0x2000 bytes long in all"), "{error}");
    }
}
