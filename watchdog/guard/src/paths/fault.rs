//! Path `fault`: a driver maps frames into a process that touches them.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};

static FAULT_PAGE: Program =
    Program::new("fault_page", Kind::Entry, &[("insert_pfn", 5), ("vmf_insert_pfn_prot", 4)])
        .last();

static FAULT_PMD: Program = Program::new(
    "fault_pmd",
    Kind::Entry,
    &[("vmf_insert_pfn_pmd", 3), ("vmf_insert_pfn_pmd_prot", 4)],
)
.last()
.optional();

static FAULT_PUD: Program = Program::new(
    "fault_pud",
    Kind::Entry,
    &[("vmf_insert_pfn_pud", 3), ("vmf_insert_pfn_pud_prot", 4)],
)
.last()
.optional();

pub(super) const PATH: GuardPath = GuardPath {
    name: "fault",
    means: Means::Kill,
    standard: Policy::Kill,
    strict: Policy::Kill,
    summary: "the same when a process touches them",
    deed: Some("had a driver map page frames into its address space on a page fault"),
    target: Target::Memory,
    leaves: Leaves::Mappings,
    without_lsm: WithoutLsm::Kept,
    programs: &[&FAULT_PAGE, &FAULT_PMD, &FAULT_PUD],
    detail: attempt_detail::none,
    test: |_| Outcome::NotTried("only a driver can do it"),
};
