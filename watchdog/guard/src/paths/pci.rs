//! Path `pci`: a process opens or writes `/dev/port`, PCI configuration space or PCI BARs.

use std::fs::OpenOptions;

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::lockdown::LOCKED_DOWN;
use super::open::{DEVICE, FILE_OPEN};
use super::write::FILE_PERMISSION;
use crate::policy::Policy;

const PORTS: &str = "/dev/port";

pub(super) const PATH: GuardPath = GuardPath {
    name: "pci",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "/dev/port, PCI registers",
    deed: Some("tried to access ports or PCI registers"),
    target: Target::Memory,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Partly(" (the device program still covers /dev/port)"),
    programs: &[&FILE_OPEN, &FILE_PERMISSION, &LOCKED_DOWN, &DEVICE],
    detail: attempt_detail::reason,
    test: |context| context.attempt(&|| OpenOptions::new().write(true).open(PORTS).map(drop)),
};
