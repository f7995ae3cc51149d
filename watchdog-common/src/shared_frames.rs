//! Guarded frames in page tables of processes.

/// The size of `struct page` (include/linux/mm_types.h) that programs assume, in bytes. The loader
/// checks it.
pub const PAGE_STRUCT: u64 = 64;

/// The parameters with which programs walk page tables, or [`PageTables::UNKNOWN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PageTables {
    /// The kernel's mapping of physical address 0: a virtual address.
    pub direct_map: u64,
    /// The number of levels: 4 or 5.
    pub levels: u64,
}

impl PageTables {
    /// Unknown: no table can be walked.
    pub const UNKNOWN: Self = Self { direct_map: 0, levels: 0 };

    /// Whether tables can be walked.
    #[must_use]
    #[inline(always)]
    pub const fn is_known(&self) -> bool {
        self.levels != 0
    }
}

/// Guarded frames that a process has mapped writable, as the kernel lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SharedFrames {
    /// The first of them: a physical address.
    pub start: u64,
    /// Bytes of consecutive frames; 0 if the mapping could not be walked.
    pub bytes: u64,
    /// The process.
    pub tgid: u32,
    /// The number of the device file: the major number above 20 bits of the minor.
    pub device: u32,
}

const _: () = {
    assert!(size_of::<PageTables>() == 16);
    assert!(size_of::<SharedFrames>() == 24);
};
