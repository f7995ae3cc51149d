//! What policy does about a path; also what was done in one case.

/// Nothing.
pub const OFF: u8 = 0;
/// It is reported.
pub const OBSERVE: u8 = 1;
/// It fails with EPERM.
pub const DENY: u8 = 2;
/// The process is killed.
pub const KILL: u8 = 3;
