//! The exit status of every command.

use std::process::ExitCode;

/// What a command ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything is as it should be.
    Good,
    /// A node is tampered with.
    Tampered,
    /// No judgement: something was lost, unverified, missing or wrong.
    Undecided,
    /// A watch that had begun cannot go on.
    Broken,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Good => 0,
            Status::Tampered => 1,
            Status::Undecided => 2,
            Status::Broken => 3,
        })
    }
}
