//! What keeps the guard in force beside the mount of its pins, and what tests it beside the
//! watchdog. The guard would refuse some of these acts, so their policy is `observe` or `off`.

use anyhow::{Result, ensure};

use super::service::another;
use crate::cases::disarming::{goes_on, newest_pin, refused_by_shell, still_denies};
use crate::cases::guard::{configuration, configured};
use crate::cases::stage::{UNIT, WATCHDOG};
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: the pins unmounted all the same", Start::Learned, unmounted),
    ("siege: the pins unmounted in a namespace that shares them", Start::Standard, shared),
    ("siege: pins that cannot be seen", Start::Standard, hidden),
    (
        "siege: a program that answers everybody but the watchdog",
        Start::Learned,
        spares_the_watchdog,
    ),
    (
        "siege: a program that answers for a hook, from before the guard",
        Start::Learned,
        from_before,
    ),
    ("siege: a watch that looks seldom, or without its baselines", Start::Standard, looks_less),
];

/// Check that a guard whose pins are unmounted stays in force, and that this is reported. The
/// commands and the next watchdog must find the guard by the descriptor that process 1 keeps. The
/// guard must still deny under the next watchdog.
fn unmounted(stage: &Stage) -> Result<()> {
    configured(stage, "[guard.paths]\nself = \"observe\"", || {
        let (mark, first) = (stage.mark()?, stage.watchdog()?);
        stage.shell("umount --lazy /sys/fs/bpf; ! mountpoint --quiet /sys/fs/bpf")?;
        stage.wait_for(mark, "the lost holder", |it| {
            it.is("guard-tampered") && it.field("MESSAGE").contains("the mount at /sys/fs/bpf")
        })?;
        goes_on(stage, first)?;
        // The exit status does not matter: the guard is not whole without the mount of its pins.
        let status = stage.machine().node0().shell(&format!("{WATCHDOG} guard status"))?;
        ensure!(status.text().contains("The guard is in force"), "{status}");
        stage.shell(&format!("systemctl kill -s SIGKILL {UNIT}"))?;
        still_denies(stage)?;
        let second = another(stage, first)?;
        let status = stage.machine().node0().shell(&format!("{WATCHDOG} guard status"))?;
        ensure!(status.text().contains(&format!("watched by process {second}")), "{status}");
        goes_on(stage, second)
    })
}

/// Check that a process cannot unmount the pins, or mount over files, from a namespace that shares
/// its mounts with process 1.
fn shared(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let shared = "unshare --mount --propagation unchanged";
        for act in ["umount --lazy /sys/fs/bpf", "umount --lazy /sys", "mount -t tmpfs no /etc"] {
            refused_by_shell(stage, &format!("{shared} {act}"))?;
        }
        stage.shell("mountpoint --quiet /sys/fs/bpf; ! mountpoint --quiet /etc").map(drop)
    })
}

/// Check that a guard whose pins are hidden by a mount namespace is not reported as absent.
fn hidden(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        // Process 1 keeps the descriptor only while the service runs or is being restarted.
        stage.halt()?;
        let line =
            format!("unshare --mount sh -c 'umount --lazy /sys/fs/bpf; {WATCHDOG} guard status'");
        let status = stage.machine().node0().shell(&line)?;
        ensure!(status.status == 2, "{status}");
        ensure!(
            status.to_string().contains("a guard is in force, but its pins cannot be seen"),
            "{status}"
        );
        still_denies(stage)
    })
}

/// Check that the second process that tests the guard detects a program that spares the watchdog.
fn spares_the_watchdog(stage: &Stage) -> Result<()> {
    configured(stage, "[guard.paths]\nbpf = \"off\"", || {
        let mark = stage.mark()?;
        let pid = stage.watchdog()?;
        stage.shell(&format!(
            "setsid disarm --by answer-others --pid {pid} </dev/null >/tmp/answers 2>&1 &"
        ))?;
        stage.wait_for(mark, "what the second process finds", |it| {
            it.is("guard-tampered") && it.field("MESSAGE").contains("A second process tested")
        })?;
        stage.shell("pkill -x disarm").map(drop)
    })
}

/// Check that no guard is armed beside a program that could answer for its hooks, and that the
/// error has the program's number. When the program is gone, the guard must be armed.
fn from_before(stage: &Stage) -> Result<()> {
    stage.shell(
        "setsid disarm --by answer-others --pid 1 </dev/null >/tmp/answers 2>&1 & sleep 2",
    )?;
    let started = stage.machine().node0().shell(&format!("systemctl start {UNIT}"))?;
    ensure!(!started.success(), "it was armed: {started}");
    let said = stage.shell(&format!("journalctl --no-pager -u {UNIT} -n 20"))?.text();
    ensure!(said.contains("it changes what kernel functions return"), "{said}");
    ensure!(said.contains("BPF program "), "the program is not named: {said}");
    stage.shell("pkill -x disarm; sleep 1")?;
    kept_by_process_one(stage)
}

/// Check that a program is not trusted because process 1 keeps a descriptor of it. The exception is
/// a program at the hook where the service manager has its own: the guard leaves it alone and
/// reports that.
fn kept_by_process_one(stage: &Stage) -> Result<()> {
    let store = |hook: &str| {
        stage.shell(&format!(
            "systemd-run --collect --unit store -p Type=notify -p NotifyAccess=all \
                 -p FileDescriptorStoreMax=1 disarm --by store-program --file {hook}"
        ))
    };
    store("bpf_lsm_bpf_map")?;
    let started = stage.machine().node0().shell(&format!("systemctl start {UNIT}"))?;
    ensure!(!started.success(), "it was armed: {started}");
    stage.shell("systemctl stop store")?;
    store("bpf_lsm_file_open")?;
    stage.start()?;
    let said = stage.shell(&format!("journalctl --no-pager -u {UNIT} -n 20"))?.text();
    let left = "process 1 holds it and it only judges opening of files: left alone";
    ensure!(said.contains(left), "{said}");
    still_denies(stage)
}

/// Check that a watchdog that sweeps less often does not take the guard over. A watchdog with
/// another state directory must report that the baselines are gone.
fn looks_less(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        newest_pin(stage, "STATE")?;
        stage.halt()?;
        let node0 = stage.machine().node0();
        let same = configuration("");
        let seldom = same.replacen("period = \"2s\"", "period = \"1h\"", 1);
        node0.write("/tmp/seldom.toml", 0o644, seldom.as_bytes())?;
        let refused =
            node0.shell(&format!("timeout 100 {WATCHDOG} run --config /tmp/seldom.toml"))?;
        ensure!(refused.status == 2, "{refused}");
        ensure!(refused.to_string().contains("a sweep begins after 2s"), "{refused}");
        let mark = stage.mark()?;
        node0.write("/tmp/elsewhere.toml", 0o644, same.as_bytes())?;
        let line = format!(
            "systemd-run --collect --unit elsewhere {WATCHDOG} run --config /tmp/elsewhere.toml \
             --wait --state-dir /tmp/elsewhere"
        );
        let ran = node0.shell(&line)?;
        ensure!(ran.success(), "{ran}");
        stage.wait_for(mark, "the baselines that are gone", |it| {
            it.is("guard-tampered") && it.field("MESSAGE").contains("baseline of service-1 is gone")
        })?;
        stage.shell("systemctl stop elsewhere").map(drop)
    })
}
