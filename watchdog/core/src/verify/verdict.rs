//! The verdict on a node.

use std::fmt;

use serde::Serialize;

/// The verdict of one sweep on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every byte of the text equals the baseline.
    Clean,
    /// Every difference is a form that the kernel's own closed tables allow.
    Patched,
    /// Something traces, probes or patches the kernel by a mechanism with an open target.
    Instrumented,
    /// At least one difference is unexplained.
    Tampered,
    /// The node has no baseline, or its memory was copied while its kernel was patching itself.
    Unverified,
    /// The kernel is still starting: its text is not yet write-protected.
    Booting,
    /// The kernel cannot be found or read, or the witnesses disagree.
    Lost,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Clean => "clean",
            Self::Patched => "patched",
            Self::Instrumented => "instrumented",
            Self::Tampered => "tampered",
            Self::Unverified => "unverified",
            Self::Booting => "booting",
            Self::Lost => "lost",
        })
    }
}
