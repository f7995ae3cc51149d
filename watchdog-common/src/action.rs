//! The actions of policy on a path. Also the action taken on one attempt.

/// Nothing.
pub const OFF: u8 = 0;
/// The attempt is reported.
pub const OBSERVE: u8 = 1;
/// The attempt fails with EPERM.
pub const DENY: u8 = 2;
/// The process is killed.
pub const KILL: u8 = 3;
