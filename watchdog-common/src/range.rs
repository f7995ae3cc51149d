//! Physical ranges.

/// A range of physical addresses: its first byte, and the first byte after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte after the range.
    pub end: u64,
}

impl Range {
    /// No memory.
    pub const EMPTY: Self = Self { start: 0, end: 0 };
}

const _: () = assert!(size_of::<Range>() == 16);
