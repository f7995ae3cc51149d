//! Another node's processor, which node 0's kernel could restart.

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

/// Acts on processor 2, which belongs to node 2.
pub(super) const ACTS: [Act; 3] = [
    act("another node's processor started (`online`)", "processor-online")
        .at("/sys/devices/system/cpu/cpu2/online"),
    act("the same by its hotplug target", "processor-target")
        .at("/sys/devices/system/cpu/cpu2/hotplug/target"),
    act("all siblings of processors (`smt/control`)", "processor-siblings")
        .at("/sys/devices/system/cpu/smt/control"),
];

/// Check that each attempt is refused and reported, and that the node keeps running.
fn refused(stage: &Stage) -> Result<()> {
    all_refused(stage, "processors", &ACTS)?;
    stage.machine().node(2)?.wait_for_ticks()
}

/// Check that the guard kills a process that opened such a file for writing before the guard was
/// armed. A process that opened the file of node 0's own processor must live on.
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
