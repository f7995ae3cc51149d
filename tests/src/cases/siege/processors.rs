//! Another node's processor, which this kernel would start anew.

use anyhow::{Result, ensure};

use crate::cases::acts::{Act, act, all_refused};
use crate::cases::guard::configured;
use crate::cases::stage::SPARE_PROCESSOR;
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: a node's processor started", Start::Standard, refused),
    (
        "siege: what starts a node's processor open from before the guard",
        Start::Learned,
        open_before,
    ),
];

/// Of node 2, whose processor has its number.
pub(super) const ACTS: [Act; 3] = [
    act("another node's processor started (`online`)", "processor-online")
        .at("/sys/devices/system/cpu/cpu2/online"),
    act("the same by its hotplug target", "processor-target")
        .at("/sys/devices/system/cpu/cpu2/hotplug/target"),
    act("all siblings of processors (`smt/control`)", "processor-siblings")
        .at("/sys/devices/system/cpu/smt/control"),
];

/// Check that each attempt is refused and told, and that the node lives on.
fn refused(stage: &Stage) -> Result<()> {
    all_refused(stage, "processors", &ACTS)?;
    stage.machine().node(2)?.wait_for_ticks()
}

/// Check that a process which had such a file open to be written is found and killed when the guard
/// is armed, and one that has node 0's own open is not.
fn open_before(stage: &Stage) -> Result<()> {
    let holds = |processor: u8| -> Result<String> {
        let said = stage.shell(&format!(
            "setsid sh -c 'exec 9>/sys/devices/system/cpu/cpu{processor}/online; echo $$ \
             >/tmp/pid; exec sleep 600' \
                 </dev/null >/dev/null 2>&1 &
             until test -s /tmp/pid; do sleep 0.05; done; cat /tmp/pid; rm /tmp/pid"
        ))?;
        Ok(said.text().trim().to_owned())
    };
    stage.preempt()?;
    let (mark, own, other) = (stage.mark()?, holds(SPARE_PROCESSOR)?, holds(2)?);
    configured(stage, "", || {
        let killed = stage.wait_for(mark, "held", |it| it.field("WATCHDOG_PID") == other)?;
        ensure!(killed.is("write-killed") && killed.field("WATCHDOG_PATH") == "held", "{killed:?}");
        ensure!(
            killed.field("MESSAGE").contains("a file that starts another node's processor"),
            "{killed:?}"
        );
        stage.shell(&format!("kill -0 {own}; ! kill -0 {other} 2>/dev/null")).map(drop)
    })
}
