//! eBPF programs that answer for the guard's hooks, override the verdicts of its programs, or act
//! on its watchdog. The guard does not let them load or attach. Other users' programs keep working.

use anyhow::{Result, ensure};

use crate::cases::acts::{Act, act};
use crate::cases::disarming::{goes_on, newest_pin, refused_as};
use crate::cases::guard::configured;
use crate::cases::snapshots::STRICT;
use crate::cases::stage::WATCHDOG;
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: programs that answer for others, or act on the watchdog", Start::Standard, refused),
    ("siege: another program behind the list of mappings", Start::Standard, no_link),
    ("siege: under strict no program that sees the kernel", Start::Strict, strict),
    ("siege: programs of services and tracers go on", Start::Standard, innocent),
];

/// Every kernel supports these acts, except the last three.
pub(super) const ACTS: [Act; 11] = [
    act("a program that answers for a kernel function (`fmod_ret`)", "fmod-ret"),
    act("a program that answers for security modules (LSM)", "lsm-program"),
    act("the same for the root cgroup (LSM_CGROUP)", "lsm-cgroup"),
    act("a program that swallows what is sent to the journal", "swallow"),
    act("a program that takes back a verdict about settings", "set-retval"),
    act("a program that writes processes' memory (`bpf_probe_write_user`)", "write-user"),
    act("a program that sends signals (`bpf_send_signal`)", "send-signal"),
    act("a program in the place of another's function (EXT)", "extension"),
    act("a program that signals any process (`bpf_send_signal_task`)", "send-signal-task"),
    act("a scheduler (`sched_ext`)", "scheduler"),
    act("a scheduler of another kind (`sched_ext_ops_cid`)", "scheduler-cid"),
];
/// Kernel functions that exist only if the kernel supports the act.
const NEEDED: [(&str, &str); 3] = [
    ("send-signal-task", "bpf_send_signal_task"),
    ("scheduler", "scx_init"),
    ("scheduler-cid", "bpf_scx_reg_cid"),
];

/// Programs that only `strict` refuses.
const LOOKING: [&str; 1] = ["tracing"];
/// Programs that no preset refuses.
const ALLOWED: [&str; 2] = ["cgroup-device", "socket-filter"];

/// Whether node 0's kernel has this function.
fn has(stage: &Stage, function: &str) -> Result<bool> {
    let line = format!("grep -qw {function} /proc/kallsyms");
    Ok(stage.machine().node0().shell(&line)?.success())
}

/// Check that each program is refused when it is loaded or attached, and that this is reported.
fn refused(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        for act in &ACTS {
            let needed = NEEDED.iter().find(|(by, _)| *by == act.by);
            if let Some((_, function)) = needed
                && !has(stage, function)?
            {
                continue;
            }
            act.is_refused(stage, "bpf")?;
        }
        Ok(())
    })
}

/// Check that `strict` refuses what `standard` refuses, and tracing programs as well.
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

/// Check that no link exists through which the list of mappings could get another program. The
/// guard must still get the list: through a link that exists for a moment, with a program that the
/// guard verifies.
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

/// Check that tracing programs, and programs for other users' control groups and sockets, load and
/// attach under `standard` without an alert.
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
    // The attempt that `goes_on` makes is reported.
    ensure!(alerts.iter().all(|it| it.field("WATCHDOG_COMM") == "attack"), "{alerts:#?}");
    Ok(())
}
