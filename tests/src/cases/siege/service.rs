//! The service itself: killed, stopped and started under `standard` and `strict`.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cases::disarming::still_denies;
use crate::cases::guard::configured;
use crate::cases::snapshots::STRICT;
use crate::cases::stage::{UNIT, WATCHDOG};
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: the service killed, stopped and started", Start::Standard, |it| lives(it, "")),
    ("siege: the same under strict", Start::Strict, |it| lives(it, STRICT)),
    ("siege: the same under strict, sealed", Start::Learned, |it| {
        lives(it, &format!("{STRICT}\ndisarm = \"never\""))
    }),
];

/// How long a service may take to run again, under emulation.
const START_TIMEOUT: Duration = Duration::from_secs(180);
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Check that systemd restarts the service when it is killed, and that `systemctl` stops and starts
/// it. Each time, the guard must be whole and pass its self-test. In between, it must deny.
fn lives(stage: &Stage, preset: &str) -> Result<()> {
    configured(stage, preset, || {
        let first = stage.watchdog()?;
        stage.shell(&format!("systemctl kill -s SIGKILL {UNIT}"))?;
        still_denies(stage)?;
        let second = another(stage, first)?;
        whole(stage)?;
        stage.halt()?;
        still_denies(stage)?;
        stage.start()?;
        another(stage, second)?;
        whole(stage)
    })
}

/// Waits until the service is ready with another process than `before`, and returns that process.
pub(super) fn another(stage: &Stage, before: u32) -> Result<u32> {
    let (begun, line) = (Instant::now(), format!("systemctl is-active --quiet {UNIT}"));
    loop {
        if stage.machine().node0().shell(&line)?.success()
            && let Ok(now) = stage.watchdog()
            && now != before
        {
            return Ok(now);
        }
        if begun.elapsed() > START_TIMEOUT {
            let said = stage.shell(&format!("journalctl --no-pager -n 12 -u {UNIT}"))?.text();
            bail!("it does not come back:\n{said}");
        }
        // Each query takes time from the service: node 0 has one processor.
        thread::sleep(POLL_INTERVAL);
    }
}

/// Stops the service, acts under the guard that it leaves, and starts the service again. Checks
/// that the guard denies before that start.
pub(in crate::cases) fn between_watchdogs(
    stage: &Stage,
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    configured(stage, "", || {
        let first = stage.watchdog()?;
        stage.halt()?;
        act()?;
        still_denies(stage)?;
        stage.start()?;
        another(stage, first).map(drop)
    })
}

fn whole(stage: &Stage) -> Result<()> {
    stage.shell(&format!("{WATCHDOG} guard status")).context("the guard is not whole")?;
    stage.shell(&format!("{WATCHDOG} guard self-test"))?;
    still_denies(stage)
}
