//! A raw image, or the live RAM file of a virtual machine.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::reading::admit;
use super::refusal::Refusal;
use super::{Memory, PhysAddr, PhysRange, RangeSet, ReadError, image};

/// Physical memory in a file, byte for byte, from one physical address on.
#[derive(Debug)]
pub struct RawImage {
    file: File,
    path: PathBuf,
    base: PhysAddr,
    ranges: RangeSet,
}

impl RawImage {
    /// Opens `path`, whose first byte is physical address `base`.
    ///
    /// # Errors
    /// When the file cannot be opened, is neither a regular file nor a block device, or is empty.
    pub fn open(path: &Path, base: PhysAddr) -> io::Result<Self> {
        let (file, size) = image::open(path)?;
        let range = PhysRange::with_size(base, size).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a memory image cannot have {size} bytes at physical {base}"),
            )
        })?;
        Ok(Self { file, path: path.to_owned(), base, ranges: RangeSet::from_iter([range]) })
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
        let Some(wanted) = admit(self, at, buffer.len(), source_name)? else {
            return Ok(());
        };
        // An admitted range does not lie below the base.
        let offset = wanted.start().checked_sub(self.base).unwrap_or_default();
        self.file.read_exact_at(buffer, offset).map_err(|error| ReadError::Io {
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
}
