//! Path `mmap`: a process maps `/dev/mem` shared and writable.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::canary::Canary;
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// Judges mappings of files, by the registers of the system call.
pub(super) static MMAP_FILE: Program =
    Program::new("mmap_file", Kind::Lsm, &[("bpf_lsm_mmap_file", 4)]);

pub(super) const PATH: GuardPath = GuardPath {
    name: "mmap",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "map /dev/mem shared and writable",
    deed: None,
    target: Target::Memory,
    leaves: Leaves::Access,
    without_lsm: WithoutLsm::Lost,
    programs: &[&MMAP_FILE],
    detail: attempt_detail::none,
    test: |context| context.attempt_on_canary(Canary::try_mmap),
};
