//! What all files that hold memory have in common.

use std::fs::{File, FileType};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::refusal::{Reason, Refusal};
use super::{PhysRange, RangeSet};
use crate::files;

/// What is wrong with anything else.
const OTHERWISE: &str = "it is not a regular file: an image is a file that holds memory";

/// Opens a file that holds memory, and its length in bytes.
///
/// # Errors
/// When it cannot be opened or is neither a regular file nor a block device.
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

/// Why an image that holds `ranges` has nothing for the beginning of `missing`.
pub(super) fn left_out(ranges: &RangeSet, missing: PhysRange) -> Refusal {
    let (Some(first), Some(last)) = (ranges.ranges().first(), ranges.ranges().last()) else {
        return Refusal { range: missing, reason: Reason::Hole };
    };
    let Some(holds) = PhysRange::new(first.start(), last.end()) else {
        return Refusal { range: missing, reason: Reason::Hole };
    };
    // `missing` lies between two ranges, or below all, or above all: it holds none of them.
    let reason = match holds.intersection(&missing) {
        Some(_) => Reason::Hole,
        None => Reason::OutsideImage(holds),
    };
    Refusal { range: missing, reason }
}
