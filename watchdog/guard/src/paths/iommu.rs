//! Path `iommu`: an IOMMU lets a device write to memory.

use std::fs::File;

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::open::FILE_OPEN;
use super::test_context::TestContext;
use crate::dma_devices;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// The guard treats this as a device of an IOMMU when the watchdog opens it.
const STAND_IN: &str = "/dev/full";

static IOMMU: Program =
    Program::new("iommu", Kind::Entry, &[("__iommu_map", 6), ("iommu_map_nosync", 6)]).last();

pub(super) const PATH: GuardPath = GuardPath {
    name: "iommu",
    means: Means::Refuse,
    standard: Policy::Observe,
    strict: Policy::Deny,
    summary: "VFIO, iommufd, mappings for devices",
    deed: Some("tried to use an IOMMU, which lets devices write to memory"),
    target: Target::Memory,
    leaves: Leaves::Access,
    without_lsm: WithoutLsm::Unrefused,
    programs: &[&FILE_OPEN, &IOMMU],
    detail: attempt_detail::none,
    test,
};

fn test(context: &dyn TestContext) -> Outcome {
    if context.policy() < Policy::Deny {
        return Outcome::NotTried("only VFIO, iommufd or a driver can do it");
    }
    match context.dma_devices().and_then(dma_devices::unknown_to) {
        Some(why) => Outcome::Missing(why),
        None => context.attempt(&|| File::open(STAND_IN).map(drop)),
    }
}
