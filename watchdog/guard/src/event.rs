//! What the guard reports.

use super::attempt::WriteAttempt;
use super::{Policy, WritePath};

/// What the guard reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    /// Something was attempted, and policy did something about it.
    Attempt(WriteAttempt),
    /// The same, under a guard before this one.
    Inherited(WriteAttempt),
    /// Attempts that came too fast to be reported one by one.
    Lost {
        /// By which path.
        path: WritePath,
        /// How many.
        count: u64,
    },
    /// Calls that were not judged, wherever they were aimed: the kernel skipped the program.
    RecursionMisses {
        /// By which path.
        path: WritePath,
        /// How many.
        count: u64,
    },
    /// Attempts under a guard before this one, whose watchdog ended before it could report them.
    Unreported {
        /// By which path.
        path: WritePath,
        /// How many.
        count: u64,
    },
}

impl GuardEvent {
    /// Whether frames that a driver mapped may have been left with somebody: with who shares the
    /// memory of a process that was killed for it, or with who was not judged.
    #[must_use]
    pub fn leaves_mappings(&self) -> bool {
        let path = match self {
            Self::Attempt(attempt) if attempt.action == Policy::Kill => attempt.path,
            Self::Lost { path, .. } | Self::RecursionMisses { path, .. } => *path,
            Self::Attempt(_) | Self::Inherited(_) | Self::Unreported { .. } => return false,
        };
        path.leaves_mappings()
    }
}
