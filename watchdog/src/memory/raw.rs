//! A raw image, or the live RAM file of a virtual machine.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use super::{Memory, PhysAddr, PhysRange, RangeSet, ReadError};

/// Physical memory in a file, byte for byte from one physical address on.
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
    /// When the file cannot be opened, is no regular file or block device, or is empty.
    pub fn open(path: &Path, base: PhysAddr) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let size = if metadata.file_type().is_block_device() {
            io::Seek::seek(&mut &file, io::SeekFrom::End(0))?
        } else if metadata.is_file() {
            metadata.len()
        } else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file: a raw image is a file that holds memory byte for byte",
            ));
        };
        let range = PhysRange::with_size(base, size).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{size} bytes from physical {base} on are no memory image"),
            )
        })?;
        Ok(Self { file, path: path.to_owned(), base, ranges: RangeSet::from_iter([range]) })
    }
}

impl Memory for RawImage {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let length = buffer.len() as u64;
        let source_name = || format!("raw:{}", self.path.display());
        let Some(wanted) = PhysRange::with_size(at, length) else {
            return if length == 0 {
                Ok(())
            } else {
                Err(ReadError::Outside { at, length, source_name: source_name() })
            };
        };
        if !self.ranges.covers(&wanted) {
            return Err(ReadError::Outside { at, length, source_name: source_name() });
        }
        self.file.read_exact_at(buffer, at.0 - self.base.0).map_err(|error| ReadError::Io {
            at,
            length,
            source_name: source_name(),
            error,
        })
    }
}
