//! The socket that a thread of the watchdog sent to last: its inode number, or [`NONE`].

/// Set beside the number: a filter, or a program by a map of sockets, runs before the reader
/// receives anything.
pub const FILTERED: u64 = 1 << 63;
/// The watchdog writes this when it has read the value: nothing was sent since.
pub const NONE: u64 = u64::MAX;
