//! The parts of an image that hold its debug information.

use gimli::{EndianSlice, LittleEndian};

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The content of an image's debug sections, uncompressed. A section that the image does not have
/// is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sections<'a> {
    /// `.debug_info`.
    pub info: &'a [u8],
    /// `.debug_abbrev`.
    pub abbreviations: &'a [u8],
    /// `.debug_str`.
    pub strings: &'a [u8],
    /// `.debug_line_str`.
    pub line_strings: &'a [u8],
    /// `.debug_str_offsets`.
    pub string_offsets: &'a [u8],
}
