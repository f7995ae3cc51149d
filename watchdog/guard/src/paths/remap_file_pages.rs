//! Path `remap-file-pages`: a process moves pages of a mapping of `/dev/mem`.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::mmap::MMAP_FILE;
use crate::canary::Canary;
use crate::policy::Policy;

pub(super) const PATH: GuardPath = GuardPath {
    name: "remap-file-pages",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "move such a mapping",
    deed: None,
    target: Target::Memory,
    leaves: Leaves::Access,
    without_lsm: WithoutLsm::Lost,
    programs: &[&MMAP_FILE],
    detail: attempt_detail::none,
    test: |context| context.attempt_on_canary(Canary::try_remap),
};
