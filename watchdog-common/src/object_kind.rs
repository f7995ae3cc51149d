//! Kinds of the guard's tables and programs: values of its tables of ids.

/// Only the watchdog may get a descriptor of it.
pub const PROTECTED: u32 = 1;
/// The watchdog itself is refused a descriptor of it, as a probe.
pub const CANARY: u32 = 2;
