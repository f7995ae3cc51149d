//! Kinds of files and folders that the guard knows: values of its table of files.

/// Nothing.
pub const NONE: u32 = 0;
/// The watchdog's executable: a process that executes it is trusted.
pub const EXECUTABLE: u32 = 1;
/// A folder of pins.
pub const PINS: u32 = 2;
/// A file or folder that only the watchdog writes.
pub const PROTECTED: u32 = 3;
/// The root of a protected mount.
pub const MOUNT: u32 = 4;
/// A control group of the watchdog, or one above it.
pub const CGROUP: u32 = 5;
/// A folder above pins or above what only the watchdog writes.
pub const ABOVE: u32 = 6;
