//! Another node's processor, which this kernel would start anew.

use anyhow::Result;

use crate::cases::disarming::refused_as;
use crate::cases::guard::configured;
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: a node's processor brought online", Start::Standard, |it| {
        refused(it, "processor-online", &format!("{PROCESSORS}/cpu{NODE}/online"))
    }),
    ("siege: a node's processor by its hotplug target", Start::Standard, |it| {
        refused(it, "processor-target", &format!("{PROCESSORS}/cpu{NODE}/hotplug/target"))
    }),
    ("siege: all siblings of processors", Start::Standard, |it| {
        refused(it, "processor-siblings", &format!("{PROCESSORS}/smt/control"))
    }),
];

const PROCESSORS: &str = "/sys/devices/system/cpu";
/// The node, whose processor has its number.
const NODE: u8 = 2;

/// Checks that an attempt is refused and told, and that the node lives on.
fn refused(stage: &Stage, by: &str, file: &str) -> Result<()> {
    configured(stage, "", || {
        refused_as(stage, "processors", by, file)?;
        stage.machine().node(NODE)?.wait_for_ticks()
    })
}
