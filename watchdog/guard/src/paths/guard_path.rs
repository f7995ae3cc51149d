//! What the guard knows about a path.

use super::attempt_detail::AttemptDetail;
use super::test_context::TestContext;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::Program;

/// All that the guard knows about a path, but for its number.
pub(super) struct GuardPath {
    /// Its name in configuration and events.
    pub(super) name: &'static str,
    /// What the kernel lets eBPF do about it.
    pub(super) means: Means,
    /// What the preset `standard` does about it.
    pub(super) standard: Policy,
    /// What the preset `strict` does about it.
    pub(super) strict: Policy,
    /// What it is, for `--help`: at most 39 columns.
    pub(super) summary: &'static str,
    /// What a process on this path did, for the sentence of an event; `None` for a write to a
    /// range, which the sentence names.
    pub(super) deed: Option<&'static str>,
    pub(super) target: Target,
    pub(super) leaves: Leaves,
    pub(super) without_lsm: WithoutLsm,
    /// The programs without which it cannot be judged.
    pub(super) programs: &'static [&'static Program],
    /// What the number says that its programs report with an attempt.
    pub(super) detail: fn(&AttemptDetail<'_>) -> Option<String>,
    /// How the self-test tries it.
    pub(super) test: fn(&dyn TestContext) -> Outcome,
}

/// What the kernel lets eBPF do about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The call can be refused.
    Refuse,
    /// The process can be killed after the call.
    Kill,
    /// The call can be seen.
    See,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Another node's memory.
    Memory,
    /// The guard, its watchdog or another node's processor: every attempt is one of the worst.
    Guard,
}

/// What a call that was let through leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Nothing: it wrote, or it did not.
    Nothing,
    /// Access by which memory can be written later, when no hook runs.
    Access,
    /// The same, in the page tables of a process. Killing that process leaves it to the processes
    /// that share its memory.
    Mappings,
}

/// What is left of a path where its LSM programs never fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithoutLsm {
    /// All: it has no LSM program, or another program stands in for them.
    Kept,
    /// It is seen, and cannot be refused.
    Unrefused,
    /// A part: which, for a sentence.
    Partly(&'static str),
    /// Nothing.
    Lost,
}
