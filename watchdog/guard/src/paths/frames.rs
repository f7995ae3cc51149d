//! Path `frames`: a driver maps frames into a process.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::test_context::TestContext;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};

static FRAMES: Program = Program::new(
    "frames",
    Kind::Entry,
    &[
        ("remap_pfn_range_internal", 5),
        ("remap_pfn_range_track", 5),
        ("remap_pfn_range_notrack", 5),
        ("remap_pfn_range", 5),
    ],
)
.last();

pub(super) const PATH: GuardPath = GuardPath {
    name: "frames",
    means: Means::Kill,
    standard: Policy::Kill,
    strict: Policy::Kill,
    summary: "a driver maps frames into a process",
    deed: Some("had a driver map page frames into its address space"),
    target: Target::Memory,
    leaves: Leaves::Mappings,
    without_lsm: WithoutLsm::Kept,
    programs: &[&FRAMES],
    detail: attempt_detail::none,
    test,
};

fn test(context: &dyn TestContext) -> Outcome {
    if context.is_read_only() {
        return Outcome::NotTried("it needs /dev/mem open for writing, which no process has");
    }
    context.attempt_on_canary(|canary| canary.try_frames().map(drop))
}
