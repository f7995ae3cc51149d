//! eBPF programs that answer for the guard's hooks, take back what its programs decide, or act on
//! its watchdog: none is loaded. What others have programs for goes on.

use anyhow::{Result, ensure};

use crate::cases::disarming::{goes_on, newest_pin, refused_as};
use crate::cases::guard::configured;
use crate::cases::snapshots::STRICT;
use crate::cases::stage::WATCHDOG;
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: a program that answers for the table hook", Start::Standard, |it| {
        refused(it, "fmod-ret")
    }),
    ("siege: an LSM program before the guard's", Start::Standard, |it| refused(it, "lsm-program")),
    ("siege: an LSM program of the root cgroup", Start::Standard, |it| refused(it, "lsm-cgroup")),
    ("siege: a program that swallows what is told", Start::Standard, |it| refused(it, "swallow")),
    ("siege: a program that takes back what the guard's decides", Start::Standard, |it| {
        refused(it, "set-retval")
    }),
    ("siege: a program that writes processes' memory", Start::Standard, |it| {
        refused(it, "write-user")
    }),
    ("siege: a program that sends signals", Start::Standard, |it| refused(it, "send-signal")),
    ("siege: a program that sends signals to anybody", Start::Standard, |it| {
        // From 6.13 on.
        if !has(it, "bpf_send_signal_task")? { Ok(()) } else { refused(it, "send-signal-task") }
    }),
    ("siege: another program behind the list of mappings", Start::Standard, no_link),
    ("siege: a program in the place of another's function", Start::Standard, |it| {
        refused(it, "extension")
    }),
    ("siege: a scheduler", Start::Standard, |it| {
        if !has(it, "scx_init")? { Ok(()) } else { refused(it, "scheduler") }
    }),
    ("siege: under strict no program that sees the kernel", Start::Strict, strict),
    ("siege: programs of services and tracers go on", Start::Standard, innocent),
];

/// Programs that only `strict` refuses, and such as nothing does.
const LOOKING: [&str; 1] = ["tracing"];
const ALLOWED: [&str; 2] = ["cgroup-device", "socket-filter"];

/// Whether node 0's kernel has this function.
fn has(stage: &Stage, function: &str) -> Result<bool> {
    let line = format!("grep -qw {function} /proc/kallsyms");
    Ok(stage.machine().node0().shell(&line)?.success())
}

fn refused(stage: &Stage, by: &str) -> Result<()> {
    configured(stage, "", || refused_as(stage, "bpf", by, &newest_pin(stage, "STATE")?))
}

/// Check that `strict` refuses what `standard` refuses, and tracing.
fn strict(stage: &Stage) -> Result<()> {
    configured(stage, STRICT, || {
        let pin = newest_pin(stage, "STATE")?;
        for by in ["fmod-ret", "lsm-program", "lsm-cgroup", "set-retval"] {
            refused_as(stage, "bpf", by, &pin)?;
        }
        for by in ["send-signal"].iter().chain(&LOOKING) {
            refused_as(stage, "bpf-tracing", by, &pin)?;
        }
        allowed(stage, &ALLOWED)
    })
}

/// Check that there is no link by which the list of mappings could be given another program, and that
/// the list is made all the same: by a link that is there for a moment, whose program is checked.
fn no_link(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let attack = stage.disarm_by("link-update", "")?;
        ensure!(attack.result == "ENOENT", "{}", attack.result);
        let tested = stage.shell(&format!("{WATCHDOG} guard self-test --json"))?.text();
        let held = r#""path":"held","coverage":"killed","seen":true"#;
        ensure!(tested.contains(held), "{tested}");
        goes_on(stage, watchdog)
    })
}

/// Check that programs which look, or are for control groups and sockets of others, are loaded and
/// attached under `standard`, and are no alert.
fn innocent(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        allowed(stage, &LOOKING)?;
        allowed(stage, &ALLOWED)
    })
}

fn allowed(stage: &Stage, acts: &[&str]) -> Result<()> {
    let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
    for by in acts {
        let act = stage.disarm_by(by, "")?;
        ensure!(act.result == "ok", "{by}: {}", act.result);
    }
    goes_on(stage, watchdog)?;
    let alerts = stage.alerts(mark)?;
    // What `goes_on` tries is told.
    ensure!(alerts.iter().all(|it| it.field("WATCHDOG_COMM") == "attack"), "{alerts:#?}");
    Ok(())
}
