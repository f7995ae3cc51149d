//! The last socket to which a thread of the watchdog sent: its inode number, or [`NONE`].

/// A flag beside the number: a filter, or a program of a map of sockets, runs before the reader
/// receives anything.
pub const FILTERED: u64 = 1 << 63;
/// Nothing was sent since the watchdog last read the value. The watchdog writes this after each
/// read.
pub const NONE: u64 = u64::MAX;
