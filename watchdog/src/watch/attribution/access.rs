//! The kinds of access through which node 0 may have written to a node's memory.

use watchdog_core::memory::MemoryUse;
use watchdog_guard::{Policy, WriteAttempt, WritePath};

/// Access of node 0 to memory of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) enum Access {
    /// The guard let a process take a path.
    Allowed {
        path: WritePath,
        pid: u32,
        /// The process's name; foreign bytes.
        comm: Vec<u8>,
    },
    /// The guard killed a process on a path. The process may have written before that.
    Killed {
        path: WritePath,
        pid: u32,
        /// The process's name; foreign bytes.
        comm: Vec<u8>,
    },
    /// Attempts that the guard could not report one by one.
    Unreported { path: WritePath, count: u64 },
    /// Calls that no program of the guard judged.
    Unjudged { path: WritePath, count: u64 },
    /// Node 0's kernel used the memory.
    Used(MemoryUse),
    /// A lease allowed an executable to write.
    Leased { exe: String },
}

impl Access {
    /// The access of an attempt that was not denied.
    pub(super) fn of_attempt(attempt: &WriteAttempt) -> Self {
        let (path, pid, comm) = (attempt.path, attempt.process.pid, attempt.process.comm.clone());
        match attempt.action {
            Policy::Kill => Self::Killed { path, pid, comm },
            Policy::Deny | Policy::Observe | Policy::Off => Self::Allowed { path, pid, comm },
        }
    }

    /// Whether the access can write memory at any later time, without another call that the guard
    /// sees.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::Allowed { path, .. }
            | Self::Unreported { path, .. }
            | Self::Unjudged { path, .. } => path.leaves_access(),
            Self::Killed { .. } | Self::Used(_) | Self::Leased { .. } => false,
        }
    }
}
