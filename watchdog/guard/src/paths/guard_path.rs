//! The facts about a path.

use super::attempt_detail::AttemptDetail;
use super::test_context::TestContext;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::Program;

/// Everything that the guard knows about a path, except its number.
pub(super) struct GuardPath {
    /// The path's name in configuration and events.
    pub(super) name: &'static str,
    /// What the kernel lets eBPF do about it.
    pub(super) means: Means,
    /// The policy of the preset `standard`.
    pub(super) standard: Policy,
    /// The policy of the preset `strict`.
    pub(super) strict: Policy,
    /// A short description for `--help`: at most 39 columns.
    pub(super) summary: &'static str,
    /// What a process on this path did, for the sentence of an event. `None` for a write to a
    /// range; the sentence then names the range.
    pub(super) deed: Option<&'static str>,
    pub(super) target: Target,
    pub(super) leaves: Leaves,
    pub(super) without_lsm: WithoutLsm,
    /// The programs that are needed to judge the path.
    pub(super) programs: &'static [&'static Program],
    /// Explains the number that the path's programs report with an attempt.
    pub(super) detail: fn(&AttemptDetail<'_>) -> Option<String>,
    /// Tests the path.
    pub(super) test: fn(&dyn TestContext) -> Outcome,
}

/// What the kernel lets eBPF do about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The call can be refused.
    Refuse,
    /// The process can be killed after the call.
    Kill,
    /// The call can only be observed.
    See,
}

/// The target of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Another node's memory.
    Memory,
    /// The guard, its watchdog or another node's processor. Every attempt is reported as
    /// `guard-tampered`.
    Guard,
}

/// What an allowed call leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Nothing: the call wrote, or it did not.
    Nothing,
    /// Access by which a process can write memory later, when no hook runs.
    Access,
    /// The same, in the page tables of a process. If that process is killed, other processes that
    /// share its memory keep it.
    Mappings,
}

/// What is left of a path if its LSM programs never fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithoutLsm {
    /// Everything: the path has no LSM program, or another program replaces them.
    Kept,
    /// The path is observed, and cannot be denied.
    Unrefused,
    /// A part. The text names it for a sentence.
    Partly(&'static str),
    /// Nothing.
    Lost,
}
