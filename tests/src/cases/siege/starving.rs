//! A watchdog that is left without what it needs, or ended by signals that systemd sends for
//! anybody.

use anyhow::{Result, ensure};

use crate::cases::disarming::{BASELINES, CONFIGURATION, goes_on, refused_as};
use crate::cases::guard::configured;
use crate::cases::stage::{UNIT, WATCHDOG};
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: the last niceness", Start::Standard, |it| refused(it, "nice", "")),
    ("siege: the last to read", Start::Standard, |it| refused(it, "io-priority", "")),
    ("siege: the first to be killed when memory runs out", Start::Standard, |it| {
        refused(it, "oom-score", "")
    }),
    ("siege: the last niceness of its session", Start::Standard, |it| refused(it, "autogroup", "")),
    ("siege: the executable's mode", Start::Standard, |it| refused(it, "mode", WATCHDOG)),
    ("siege: the executable's owner", Start::Standard, |it| refused(it, "owner", WATCHDOG)),
    ("siege: the configuration's mode", Start::Standard, |it| refused(it, "mode", CONFIGURATION)),
    ("siege: the baselines' owner", Start::Standard, |it| refused(it, "owner", BASELINES)),
    ("siege: systemctl freeze", Start::Standard, frozen),
    ("siege: systemctl kill with SIGHUP", Start::Standard, |it| signal(it, "HUP")),
    ("siege: systemctl kill with SIGUSR2", Start::Standard, |it| signal(it, "USR2")),
];

fn refused(stage: &Stage, by: &str, file: &str) -> Result<()> {
    configured(stage, "", || refused_as(stage, "self", by, file))
}

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

/// Check that a signal which is nobody's to end a service with does not end it.
fn signal(stage: &Stage, name: &str) -> Result<()> {
    configured(stage, "", || {
        let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
        stage.shell(&format!("systemctl kill -s {name} {UNIT}; sleep 1"))?;
        goes_on(stage, watchdog)?;
        let told = stage.wait_for(mark, "what is denied", |it| it.is("write-denied"))?;
        ensure!(told.field("_PID") == watchdog.to_string(), "{told:?}");
        Ok(())
    })
}
