//! A watchdog that is left without what it needs.

use anyhow::{Result, ensure};

use super::acts::{Act, act, all_refused};
use crate::cases::disarming::{BASELINES, CONFIGURATION, goes_on};
use crate::cases::guard::configured;
use crate::cases::stage::{UNIT, WATCHDOG};
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: the watchdog starved, and its files made others'", Start::Standard, |it| {
        all_refused(it, "self", &ACTS)
    }),
    ("siege: systemctl freeze", Start::Standard, frozen),
];

pub(super) const ACTS: [Act; 8] = [
    act("the last nice value (setpriority(2))", "nice", ""),
    act("the last priority for disks (ioprio_set(2))", "io-priority", ""),
    act("the first to be killed when memory runs out (oom_score_adj)", "oom-score", ""),
    act("the last nice value of its session (autogroup)", "autogroup", ""),
    act("the executable's mode", "mode", WATCHDOG),
    act("the executable's owner", "owner", WATCHDOG),
    act("the configuration's mode", "mode", CONFIGURATION),
    act("the baselines' owner", "owner", BASELINES),
];

/// Check that systemd does not freeze the service for anybody.
fn frozen(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
        // Whatever systemd says of it: it may take what it wrote for done.
        let said = stage.machine().node0().shell(&format!("timeout 20 systemctl freeze {UNIT}"))?;
        let file = format!("/sys/fs/cgroup/system.slice/{UNIT}/cgroup.freeze");
        let is_frozen = stage.shell(&format!("cat {file}"))?.text();
        ensure!(is_frozen.trim() == "0", "it is frozen: {said}");
        let told = stage.wait_for(mark, "self", |it| it.field("WATCHDOG_PATH") == "self")?;
        ensure!(told.is("guard-tampered"), "{told:?}");
        goes_on(stage, watchdog)
    })
}
