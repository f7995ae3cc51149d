//! Path `kexec-segments`: kexec_load(2) with segments in another node's memory.

use std::io;

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::kexec::load_segments;
use super::module::KERNEL_LOAD_DATA;
use super::test_context::TestContext;
use crate::canary::CANARY;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// Judges the segments that the kernel copied, in case a process changed them after the hook.
static KEXEC_SEGMENT: Program =
    Program::new("kexec_segment", Kind::Entry, &[("kimage_load_segment", 2)]).last().optional();

pub(super) const PATH: GuardPath = GuardPath {
    name: "kexec-segments",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "kexec segments in a node's memory",
    deed: Some("tried to load kexec segments over other nodes' memory"),
    target: Target::Memory,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&KERNEL_LOAD_DATA, &KEXEC_SEGMENT],
    detail: attempt_detail::none,
    test,
};

fn test(context: &dyn TestContext) -> Outcome {
    if context.denies_every_kexec() {
        return Outcome::NotTried("every kexec is denied before it");
    }
    context.attempt(&load)
}

/// Loads one segment onto the canary page.
fn load() -> io::Result<()> {
    // `struct kexec_segment`: source and bytes, destination and bytes.
    load_segments(&[[0, 0, CANARY.start, CANARY.end - CANARY.start]])
}
