//! Functions that all sources in files share.

use std::fs::{File, FileType};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::refusal::{Reason, Refusal};
use super::{PhysRange, RangeSet};
use crate::files;

/// The error for a file of any other kind.
const OTHERWISE: &str = "it is not a regular file: an image is a file that holds memory";

/// Opens a file that holds memory, and returns its length in bytes.
///
/// # Errors
/// When the file cannot be opened, or is neither a regular file nor a block device.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    let is_wanted = |kind: &FileType| kind.is_file() || kind.is_block_device();
    let file = files::open_as(path, is_wanted, OTHERWISE)?;
    let metadata = file.metadata()?;
    if metadata.file_type().is_block_device() {
        let length = io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
        return Ok((file, length));
    }
    Ok((file, metadata.len()))
}

/// Why an image that holds `ranges` does not hold the start of `missing`.
pub(super) fn left_out(ranges: &RangeSet, missing: PhysRange) -> Refusal {
    let (Some(first), Some(last)) = (ranges.ranges().first(), ranges.ranges().last()) else {
        return Refusal { range: missing, reason: Reason::Hole };
    };
    let Some(holds) = PhysRange::new(first.start(), last.end()) else {
        return Refusal { range: missing, reason: Reason::Hole };
    };
    // `missing` contains none of the ranges: it lies between two of them, below all or above all.
    let reason = match holds.intersection(&missing) {
        Some(_) => Reason::Hole,
        None => Reason::OutsideImage(holds),
    };
    Refusal { range: missing, reason }
}
