//! What a table or program of the guard is to it: values of its tables of ids.

/// Only the watchdog gets a descriptor of it.
pub const PROTECTED: u32 = 1;
/// The watchdog itself is refused it, as a probe.
pub const CANARY: u32 = 2;
