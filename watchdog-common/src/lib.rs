//! Types on the wire between the watchdog and its eBPF programs.
//!
//! Both sides compile these; layouts are fixed (`repr(C)`, no padding, plain integers) and proven
//! below.
#![no_std]

/// Ranges the guard can hold.
pub const MAX_RANGES: usize = 64;

/// Ways to write to physical memory, as they are counted and reported. The numbers are the rows of
/// the documentation's table.
pub mod path {
    /// Opening `/dev/mem` for writing.
    pub const OPEN: u32 = 1;
    /// write(2) and its kin, aio, io_uring.
    pub const WRITE: u32 = 3;
    /// mmap(2), shared and writable.
    pub const MMAP: u32 = 4;
    /// remap_file_pages(2).
    pub const REMAP_FILE_PAGES: u32 = 5;
    /// mprotect(2) of a shared mapping that was read-only.
    pub const MPROTECT: u32 = 6;
    /// One more than the largest: the size of a table indexed by path.
    pub const COUNT: u32 = 7;
}

/// A physical range: first byte, and first byte behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte behind.
    pub end: u64,
}

/// What the programs protect and from whom; frozen once they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rules {
    /// The other nodes' memory; unused places are empty.
    pub ranges: [Range; MAX_RANGES],
    /// A range on which the watchdog itself tries what must be denied.
    pub decoy: Range,
    /// The watchdog's process (thread group) id: its own attempts on the decoy are the proof.
    pub watchdog: u32,
    /// 1: opening `/dev/mem` for writing is denied.
    pub deny_open: u32,
}

impl Rules {
    /// Rules that protect nothing.
    pub const EMPTY: Self = Self {
        ranges: [Range { start: 0, end: 0 }; MAX_RANGES],
        decoy: Range { start: 0, end: 0 },
        watchdog: 0,
        deny_open: 0,
    };
}

/// Byte offsets of kernel structure fields, resolved from BTF when the programs are loaded:
/// Rust has no CO-RE, and `struct file` alone differs between 6.1, 6.12 and 7.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Offsets {
    /// `struct file`, `f_inode`.
    pub file_inode: u32,
    /// `struct file`, `f_mode`.
    pub file_mode: u32,
    /// `struct file`, `f_path.dentry`.
    pub file_dentry: u32,
    /// `struct inode`, `i_rdev`.
    pub inode_rdev: u32,
    /// `struct inode`, `i_mode`.
    pub inode_mode: u32,
    /// `struct vm_area_struct`, `vm_start`.
    pub vma_start: u32,
    /// `struct vm_area_struct`, `vm_end`.
    pub vma_end: u32,
    /// `struct vm_area_struct`, `vm_flags`.
    pub vma_flags: u32,
    /// `struct vm_area_struct`, `vm_pgoff`.
    pub vma_pgoff: u32,
    /// `struct vm_area_struct`, `vm_file`.
    pub vma_file: u32,
    /// `struct task_struct`, `mm`.
    pub task_mm: u32,
    /// `struct mm_struct`, `exe_file`.
    pub mm_exe_file: u32,
    /// `struct dentry`, `d_parent`.
    pub dentry_parent: u32,
    /// `struct dentry`, `d_name.name`.
    pub dentry_name: u32,
}

/// Names of an executable's path that are reported, from the last one up.
pub const EXE_NAMES: usize = 12;
/// Bytes of each, with its NUL.
pub const EXE_NAME_BYTES: usize = 48;

/// An attempt that was denied, as it goes through the ring buffer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Attempt {
    /// Physical memory aimed at; empty when it could not be known.
    pub range: Range,
    /// One of [`path`].
    pub path: u32,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Task name, NUL-padded.
    pub comm: [u8; 16],
    /// Path of the executable within its mount: names from the last one up, each NUL-terminated,
    /// empty ones behind the first.
    pub exe: [[u8; EXE_NAME_BYTES]; EXE_NAMES],
}

// No padding anywhere: each size is the sum of the fields.
const _: () = {
    assert!(size_of::<Range>() == 16);
    assert!(size_of::<Rules>() == MAX_RANGES * 16 + 16 + 8);
    assert!(size_of::<Offsets>() == 14 * 4);
    assert!(size_of::<Attempt>() == 16 + 16 + 16 + EXE_NAMES * EXE_NAME_BYTES);
};

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, integers only, and no padding (proven by the sizes above).
    unsafe impl aya::Pod for super::Rules {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Offsets {}
}
