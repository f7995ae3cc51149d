//! Attempts, as they go through the ring buffer.

use crate::Range;

/// Names of an executable's path that are reported, from the last one up.
pub const EXE_NAMES: usize = 12;
/// Bytes of each, with its NUL.
pub const EXE_NAME_BYTES: usize = 48;

/// An attempt, and what was done about it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Attempt {
    /// The physical memory aimed at; empty when it is unknown, or when the path is not a matter of
    /// memory.
    pub range: Range,
    /// One of [`path`](crate::path).
    pub path: u32,
    /// What was done: one of [`action`](crate::action).
    pub action: u32,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Process id of the parent.
    pub parent: u32,
    /// More about the attempt; each path has its own numbers. 0 for none.
    pub detail: u32,
    /// Task name, NUL-padded.
    pub comm: [u8; 16],
    /// The parent's.
    pub parent_comm: [u8; 16],
    /// Path of the executable within its mount: names from the last one up, each NUL-terminated,
    /// empty ones behind the first.
    pub exe: [[u8; EXE_NAME_BYTES]; EXE_NAMES],
}

const _: () = assert!(size_of::<Attempt>() == 16 + 32 + 32 + EXE_NAMES * EXE_NAME_BYTES);
