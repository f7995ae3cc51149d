//! The exit status of every command.

use std::process::ExitCode;

/// The exit status of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything is as it should be.
    Good = 0,
    /// A node is tampered with.
    Tampered = 1,
    /// No judgement: something was lost, unverified, missing or wrong.
    Undecided = 2,
    /// A watch that had begun cannot go on.
    Broken = 3,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}
