//! Path `processors`: a process starts a processor that did not belong to node 0 when the guard was
//! armed.

use std::fs::OpenOptions;
use std::path::Path;

use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::open::FILE_OPEN;
use super::test_context::TestContext;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// Controls processors of this node. Opening it changes nothing.
const SMT: &str = "/sys/devices/system/cpu/smt/control";

static PROCESSOR_UP: Program = Program::new("processor_up", Kind::Entry, &[("_cpu_up", 3)]).last();

pub(super) const PATH: GuardPath = GuardPath {
    name: "processors",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "start another node's processor",
    deed: Some("tried to start a processor that does not belong to node 0"),
    target: Target::Guard,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&FILE_OPEN, &PROCESSOR_UP],
    // If the start was only observed, the number is the processor's.
    detail: |detail| detail.is_observed.then(|| format!("processor {}", detail.number)),
    test,
};

fn test(context: &dyn TestContext) -> Outcome {
    if !Path::new(SMT).exists() {
        return Outcome::NotTried("this kernel cannot start processors");
    }
    context.attempt(&|| OpenOptions::new().write(true).open(SMT).map(drop))
}
