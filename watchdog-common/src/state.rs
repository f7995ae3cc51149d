//! The state of an armed guard.

/// Bytes of [`State`] that programs do not read.
pub const RECORD_BYTES: usize = 32 * 1024;

/// The mutable state of an armed guard, and its record for later watchdogs.
///
/// Both are one value of one table, so that a watchdog can only release the guard whose record it
/// read.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct State {
    /// Not 0: a process that executes the watchdog's executable may take the guard down.
    pub released: u32,
    /// One of [`file_kind`](crate::file_kind): files that the watchdog opens now are registered
    /// with this kind. With `NONE`, no file is registered.
    pub registering: u32,
    /// How many bytes of the record are used.
    pub length: u32,
    /// Not 0: a process that executes the watchdog's executable may open `/dev/mem` for writing, as
    /// the next watchdog does for its self-test.
    pub opens: u32,
    /// The record: JSON.
    pub record: [u8; RECORD_BYTES],
}

const _: () = assert!(size_of::<State>() == 16 + RECORD_BYTES);
