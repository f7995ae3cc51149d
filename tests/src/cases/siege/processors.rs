//! Another node's processor, which this kernel would start anew.

use anyhow::Result;

use super::acts::{Act, act, all_refused};
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List =
    &[("siege: a node's processor started", Start::Standard, refused)];

/// Of node 2, whose processor has its number.
pub(super) const ACTS: [Act; 3] = [
    act(
        "another node's processor started (`online`)",
        "processor-online",
        "/sys/devices/system/cpu/cpu2/online",
    ),
    act(
        "the same by its hotplug target",
        "processor-target",
        "/sys/devices/system/cpu/cpu2/hotplug/target",
    ),
    act(
        "all siblings of processors (`smt/control`)",
        "processor-siblings",
        "/sys/devices/system/cpu/smt/control",
    ),
];

/// Check that each attempt is refused and told, and that the node lives on.
fn refused(stage: &Stage) -> Result<()> {
    all_refused(stage, "processors", &ACTS)?;
    stage.machine().node(2)?.wait_for_ticks()
}
