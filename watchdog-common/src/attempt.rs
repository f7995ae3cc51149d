//! Attempts in the ring buffer.

use crate::Range;

/// The number of names of an executable's path that are reported, starting with the last one.
pub const EXE_NAMES: usize = 12;
/// Bytes of each name, with its NUL.
pub const EXE_NAME_BYTES: usize = 48;

/// An attempt, and the action taken on it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Attempt {
    /// The physical memory aimed at; empty if it is unknown, or if the path does not concern
    /// memory.
    pub range: Range,
    /// One of [`path`](crate::path).
    pub path: u32,
    /// The action taken: one of [`action`](crate::action).
    pub action: u32,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Process id of the parent.
    pub parent: u32,
    /// A detail of the attempt, with numbers of its path; 0 for none.
    pub detail: u32,
    /// Task name, NUL-padded.
    pub comm: [u8; 16],
    /// The task name of the parent.
    pub parent_comm: [u8; 16],
    /// Path of the executable within its mount: its names from the last to the first, each
    /// NUL-terminated. Unused entries follow and are empty.
    pub exe: [[u8; EXE_NAME_BYTES]; EXE_NAMES],
}

const _: () = assert!(size_of::<Attempt>() == 16 + 32 + 32 + EXE_NAMES * EXE_NAME_BYTES);
