//! Path `dma`: a driver gives a device memory to write.

use watchdog_common::PAGE_STRUCT;

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};

static DMA_PHYS: Program =
    Program::new("dma_phys", Kind::Entry, &[("dma_map_phys", 5), ("dma_map_resource", 5)]).last();

/// Judges memory that a driver gives as a page, before 7.2.
static DMA_PAGE: Program = Program::new("dma_page", Kind::Exit, &[("dma_map_page_attrs", 6)])
    .last()
    .within("dma_map_phys", 5)
    .relies_on("page", PAGE_STRUCT);

pub(super) const PATH: GuardPath = GuardPath {
    name: "dma",
    means: Means::See,
    standard: Policy::Off,
    strict: Policy::Observe,
    summary: "a driver lets a device write",
    deed: Some("had a driver let a device write to memory"),
    target: Target::Memory,
    leaves: Leaves::Access,
    without_lsm: WithoutLsm::Kept,
    programs: &[&DMA_PHYS, &DMA_PAGE],
    detail: attempt_detail::none,
    test: |_| Outcome::NotTried("only a driver can do it"),
};
