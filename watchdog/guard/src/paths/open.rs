//! Path `open`: a process opens `/dev/mem` for writing.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::test_context::TestContext;
use crate::canary::Canary;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// Judges opened files. It also registers the guard's own files.
pub(super) static FILE_OPEN: Program =
    Program::new("file_open", Kind::Lsm, &[("bpf_lsm_file_open", 1)]).always();

/// Replaces LSM programs when `/dev/mem` or `/dev/port` is opened.
pub(super) static DEVICE: Program = Program::new("device", Kind::Device, &[]);

pub(super) const PATH: GuardPath = GuardPath {
    name: "open",
    means: Means::Refuse,
    standard: Policy::Off,
    strict: Policy::Deny,
    summary: "open /dev/mem for writing",
    deed: Some("tried to open /dev/mem for writing"),
    target: Target::Memory,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Kept,
    programs: &[&FILE_OPEN, &DEVICE],
    detail: attempt_detail::none,
    test,
};

fn test(context: &dyn TestContext) -> Outcome {
    match context.attempt(&Canary::try_open) {
        Outcome::Seen if context.is_read_only() => Outcome::SeenBy("the device program"),
        outcome => outcome,
    }
}
