//! Path `held`: access that predates the guard, or that outlived a lease.
//!
//! No hook runs for it. The guard searches for it (`stale_access.rs`).

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::frames;
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// Walks the page tables of every process. The kernel can list mappings since 5.8. The helper that
/// walks a mapping came later (5.17).
static SHARED_FRAMES: Program =
    Program::new(frames::PROGRAM, Kind::Listing("task_vma"), &[("bpf_loop", 5)]);

pub(super) const PATH: GuardPath = GuardPath {
    name: "held",
    means: Means::Kill,
    standard: Policy::Kill,
    strict: Policy::Kill,
    summary: "access that predates the guard",
    deed: Some("had access that predates the guard or outlived a lease"),
    target: Target::Memory,
    leaves: Leaves::Access,
    without_lsm: WithoutLsm::Kept,
    programs: &[&SHARED_FRAMES],
    detail: attempt_detail::none,
    test: |context| context.stale_access(),
};
