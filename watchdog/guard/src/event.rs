//! What the guard reports.

use super::attempt::WriteAttempt;
use super::{Policy, WritePath};

/// What the guard reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    /// A process attempted something, and the guard applied its policy.
    Attempt(WriteAttempt),
    /// The same, from a guard before this one.
    Inherited(WriteAttempt),
    /// Attempts that were not reported one by one, because the event buffer was full.
    Lost {
        /// The path.
        path: WritePath,
        /// How many.
        count: u64,
    },
    /// Calls that no program judged, whatever their target: the kernel skipped the program.
    RecursionMisses {
        /// The path.
        path: WritePath,
        /// How many.
        count: u64,
    },
    /// Attempts under a guard before this one that its watchdog did not report before it ended.
    Unreported {
        /// The path.
        path: WritePath,
        /// How many.
        count: u64,
    },
}

impl GuardEvent {
    /// Whether a process may still have frames that a driver mapped. It may share the memory of a
    /// process that was killed for them, or no program judged the mapping.
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
