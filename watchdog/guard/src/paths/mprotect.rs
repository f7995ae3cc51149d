//! Path `mprotect`: a process makes a shared read-only mapping of `/dev/mem` writable.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::canary::Canary;
use crate::policy::Policy;
use crate::program::{Kind, Program};

static FILE_MPROTECT: Program =
    Program::new("file_mprotect", Kind::Lsm, &[("bpf_lsm_file_mprotect", 3)]);

pub(super) const PATH: GuardPath = GuardPath {
    name: "mprotect",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "make a read-only mapping writable",
    deed: None,
    target: Target::Memory,
    leaves: Leaves::Access,
    without_lsm: WithoutLsm::Lost,
    programs: &[&FILE_MPROTECT],
    detail: attempt_detail::none,
    test: |context| context.attempt_on_canary(Canary::try_mprotect),
};
