//! Path `module-parameters`: a process gives a module addresses or ports as parameters.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::lockdown::LOCKED_DOWN;
use crate::outcome::Outcome;
use crate::policy::Policy;

pub(super) const PATH: GuardPath = GuardPath {
    name: "module-parameters",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "addresses as module parameters",
    deed: Some("tried to give a module addresses as parameters"),
    target: Target::Memory,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&LOCKED_DOWN],
    detail: attempt_detail::reason,
    test: |_| Outcome::NotTried("only a loaded module can do it"),
};
