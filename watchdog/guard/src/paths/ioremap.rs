//! Path `ioremap`: the kernel or a module maps memory for itself.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::canary::Canary;
use crate::policy::Policy;
use crate::program::{Function, Kind, Program};

const READ_MEM: &[Function] = &[("read_mem", 4)];

/// Saves that a read of `/dev/mem` begins: the kernel maps the memory that it reads.
static READING: Program = Program::new("reading", Kind::Entry, READ_MEM).saves();
/// Saves that the read has ended.
static READING_DONE: Program = Program::new("reading_done", Kind::Exit, READ_MEM).saves();

static IOREMAP: Program = Program::new("ioremap", Kind::Entry, &[("__ioremap_caller", 5)]).last();

pub(super) const PATH: GuardPath = GuardPath {
    name: "ioremap",
    means: Means::See,
    standard: Policy::Observe,
    strict: Policy::Observe,
    summary: "the kernel maps it for its own use",
    deed: Some("had the kernel map memory for its own use"),
    target: Target::Memory,
    leaves: Leaves::Access,
    without_lsm: WithoutLsm::Kept,
    programs: &[&READING, &READING_DONE, &IOREMAP],
    detail: attempt_detail::none,
    test: |context| context.attempt_on_canary(Canary::try_ioremap),
};
