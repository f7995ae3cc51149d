//! An act on what belongs to the guard: the detail of an attempt on
//! [`SELF_PROTECTION`](crate::path::SELF_PROTECTION).

/// A table of the guard is opened.
pub const MAP: u32 = 1;
/// A program of the guard is opened.
pub const PROGRAM: u32 = 2;
/// A file or a pin is removed.
pub const UNLINK: u32 = 3;
/// A file is renamed or replaced.
pub const RENAME: u32 = 4;
/// A file is created where only the watchdog creates files.
pub const CREATE: u32 = 5;
/// A file is truncated.
pub const TRUNCATE: u32 = 6;
/// A file is opened for writing.
pub const OPEN: u32 = 7;
/// The file system with the pins is unmounted.
pub const UNMOUNT: u32 = 8;
/// A signal goes to the watchdog.
pub const SIGNAL: u32 = 9;
/// The watchdog is traced, or its memory is accessed.
pub const TRACE: u32 = 10;
/// The watchdog's limits or scheduling change.
pub const LIMIT: u32 = 11;
/// The watchdog's control group stops, kills or starves it.
pub const CGROUP: u32 = 12;
/// A file system is mounted over protected files, or the pins are moved.
pub const MOUNT: u32 = 13;
/// The mode or owner of a file changes.
pub const MODE: u32 = 14;
/// One of the watchdog's files below `/proc` is opened for writing.
pub const PROC: u32 = 15;
