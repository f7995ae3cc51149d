//! The headers of a LiME image, which is a sequence of physical ranges.
//!
//! Format version 1 (the documentation of LiME 1.9, "LiME memory range header"): each range is a
//! header of 32 bytes, followed by its data. The header holds magic, version, first and *last*
//! address and 8 reserved bytes, all little-endian. AVML writes the same format.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::dump_error::DumpError;
use super::foreign;
use super::{PhysAddr, PhysRange};

/// `LIME_MAGIC`: `EMiL` in the file.
const MAGIC: u32 = 0x4c69_4d45;
/// The version without compression; the only one that is read.
const VERSION: u32 = 1;
/// Bytes of a header.
const HEADER: usize = 32;
/// Most ranges that are read; AVML begins a new one every 16 MiB.
pub(super) const MAX_RANGES: u32 = 1 << 20;

/// The content of the headers.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    /// Each range with the offset of its first byte, in file order. The last may reach past the end
    /// of the file.
    pub(super) ranges: Vec<(PhysRange, u64)>,
    /// Whether the file ends within a header, so that further ranges are unknown.
    pub(super) cut: bool,
}

/// Reads the headers of an image of `length` bytes.
///
/// # Errors
/// [`DumpError`]: a header is missing or invalid, or there are too many.
pub(super) fn headers(file: &File, length: u64) -> Result<Headers, DumpError> {
    let mut headers = Headers::default();
    let mut at = 0_u64;
    while at < length {
        if headers.ranges.len() >= MAX_RANGES as usize {
            return Err(DumpError::TooMany(MAX_RANGES));
        }
        let mut bytes = [0; HEADER];
        let header = match file.read_exact_at(&mut bytes, at) {
            Ok(()) => &bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && at > 0 => {
                headers.cut = true;
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(DumpError::HeadersCut);
            }
            Err(error) => return Err(DumpError::Io(error)),
        };
        let range = range(header, at)?;
        let data = at.saturating_add(HEADER as u64);
        headers.ranges.push((range, data));
        // A size that leads past the largest offset also leads past the end of the file.
        at = data.saturating_add(range.size());
    }
    Ok(headers)
}

/// The range in a header at offset `at`.
fn range(header: &[u8; HEADER], at: u64) -> Result<PhysRange, DumpError> {
    let (words, _) = header.as_chunks::<8>();
    let word = |n: usize| words.get(n).copied().map(u64::from_le_bytes).unwrap_or_default();
    let (magic, version) = (word(0) as u32, (word(0) >> 32) as u32);
    if magic != MAGIC {
        let advice = foreign::advice(header).filter(|_| at == 0);
        return Err(advice.map_or(DumpError::NotLime { at }, DumpError::Foreign));
    }
    if version != VERSION {
        return Err(DumpError::LimeVersion(version));
    }
    let (first, last) = (PhysAddr(word(1)), PhysAddr(word(2)));
    last.checked_add(1)
        .and_then(|end| PhysRange::new(first, end))
        .ok_or_else(|| DumpError::NoRange(format!("the header at offset {at:#x}")))
}
