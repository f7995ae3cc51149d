//! Root on node 0 against the guard itself: each way to switch it off or to stop its watchdog. All are
//! refused and told, and the guard goes on.

use anyhow::{Result, ensure};

use super::guard::configured;
use super::stage::{UNIT, WATCHDOG};
use super::{List, Stage, Start};

pub(super) const CASES: List = &[
    ("disarm: SIGKILL", Start::Standard, |it| refused(it, "kill", "")),
    ("disarm: SIGSTOP", Start::Standard, |it| refused(it, "stop", "")),
    ("disarm: SIGTERM by a pidfd", Start::Standard, |it| refused(it, "pidfd", "")),
    ("disarm: SIGKILL to one thread", Start::Standard, |it| refused(it, "thread", "")),
    ("disarm: SIGKILL as the signal of a file", Start::Standard, |it| {
        refused(it, "file-signal", "")
    }),
    ("disarm: ptrace", Start::Standard, |it| refused(it, "trace", "")),
    ("disarm: process_vm_writev", Start::Standard, |it| refused(it, "write-memory", "")),
    ("disarm: /proc/PID/mem", Start::Standard, |it| refused(it, "proc-mem", "")),
    ("disarm: a descriptor taken by pidfd_getfd", Start::Standard, |it| {
        refused(it, "steal-descriptor", "")
    }),
    ("disarm: the watchdog's executable under a tracer", Start::Standard, |it| {
        refused(it, "traced-exec", "")
    }),
    ("disarm: no processor time", Start::Standard, |it| refused(it, "processor-limit", "")),
    ("disarm: the idle scheduling class", Start::Standard, |it| refused(it, "idle", "")),
    ("disarm: passing itself off as the watchdog", Start::Standard, |it| {
        refused(it, "impostor", &pin(it, "STATE")?)
    }),
    ("disarm: a pinned table", Start::Standard, |it| {
        refused(it, "pinned-table", &pin(it, "STATE")?)
    }),
    ("disarm: every table by its id", Start::Standard, |it| refused(it, "table-by-id", "")),
    ("disarm: the program detached from the root cgroup", Start::Standard, |it| {
        refused(it, "detach-program", "")
    }),
    ("disarm: every link detached or redirected", Start::Standard, links_stay),
    ("disarm: a link's pin removed", Start::Standard, |it| {
        refused(it, "unlink", &pin(it, "link-mmap_file")?)
    }),
    ("disarm: a link's pin renamed", Start::Standard, |it| {
        refused(it, "rename", &pin(it, "link-mmap_file")?)
    }),
    ("disarm: a folder of pins planted", Start::Standard, |it| {
        refused(it, "make-folder", &pin(it, "")?)
    }),
    ("disarm: the pins unmounted", Start::Standard, |it| refused(it, "unmount", "/sys/fs/bpf")),
    ("disarm: /sys unmounted with the pins", Start::Standard, |it| refused(it, "unmount", "/sys")),
    ("disarm: cgroup.kill", Start::Standard, |it| refused(it, "write", &cgroup("cgroup.kill"))),
    ("disarm: cgroup.freeze", Start::Standard, |it| refused(it, "write", &cgroup("cgroup.freeze"))),
    ("disarm: memory.max of the cgroup", Start::Standard, |it| {
        refused(it, "write", &cgroup("memory.max"))
    }),
    ("disarm: the cgroup above frozen", Start::Standard, |it| refused(it, "write", ABOVE)),
    ("disarm: the executable written while no process runs it", Start::Standard, executable_stays),
    ("disarm: the executable removed", Start::Standard, |it| refused(it, "unlink", WATCHDOG)),
    ("disarm: the executable replaced", Start::Standard, |it| refused(it, "replace", WATCHDOG)),
    ("disarm: the configuration written", Start::Standard, |it| {
        refused(it, "write", CONFIGURATION)
    }),
    ("disarm: the configuration removed", Start::Standard, |it| {
        refused(it, "unlink", CONFIGURATION)
    }),
    ("disarm: a file planted beside it", Start::Standard, |it| {
        refused(it, "make-file", "/etc/watchdog")
    }),
    ("disarm: a baseline written", Start::Standard, |it| refused(it, "write", BASELINE)),
    ("disarm: a baseline planted", Start::Standard, |it| refused(it, "make-file", BASELINES)),
    ("disarm: a baseline imported", Start::Standard, baseline_imported),
];

pub(super) const CONFIGURATION: &str = "/etc/watchdog/watchdog.toml";
pub(super) const BASELINES: &str = "/var/lib/watchdog/baselines";
const BASELINE: &str = "/var/lib/watchdog/baselines/service-1.baseline";
const ABOVE: &str = "/sys/fs/cgroup/system.slice/cgroup.freeze";

fn cgroup(file: &str) -> String {
    format!("/sys/fs/cgroup/system.slice/{UNIT}/{file}")
}

/// A pin of the guard in force.
fn pin(stage: &Stage, name: &str) -> Result<String> {
    configured(stage, "", || Ok(()))?;
    newest_pin(stage, name)
}

/// A pin of the guard in force, which is the newest.
pub(super) fn newest_pin(stage: &Stage, name: &str) -> Result<String> {
    let newest = stage.shell("ls /sys/fs/bpf/watchdog | sort -n | tail -1")?.text();
    Ok(format!("/sys/fs/bpf/watchdog/{}/{name}", newest.trim()))
}

/// Checks that an attempt at the guard's own is refused.
fn refused(stage: &Stage, by: &str, file: &str) -> Result<()> {
    configured(stage, "", || refused_as(stage, "self", by, file))
}

/// Checks that an attempt is refused with EPERM and told as the worst there is, with this path and
/// with its process, and that all goes on.
pub(super) fn refused_as(stage: &Stage, path: &str, by: &str, file: &str) -> Result<()> {
    let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
    let attack = stage.disarm_by(by, file)?;
    // A tracer's refusal is EACCES where it is a file that is opened.
    let is_refused = match attack.result.as_str() {
        "EPERM" | "EACCES" => true,
        // The verifier does not know a helper that it was refused.
        "EINVAL" => by == "write-user",
        _ => false,
    };
    ensure!(is_refused, "{by} {file}: {}", attack.result);
    let entry = stage.wait_for(mark, path, |it| it.field("WATCHDOG_PATH") == path)?;
    ensure!(entry.is("guard-tampered") && entry.field("PRIORITY") == "2", "{entry:?}");
    ensure!(entry.field("WATCHDOG_ACTION") == "denied", "{entry:?}");
    // A child of it, where it is a child that is traced.
    let is_it = entry.field("WATCHDOG_PID") == attack.pid || by == "traced-exec";
    ensure!(is_it && entry.field("WATCHDOG_COMM") == "disarm", "{entry:?}");
    goes_on(stage, watchdog)
}

/// Checks that a line of shell is refused and told as the worst there is.
pub(super) fn refused_by_shell(stage: &Stage, line: &str) -> Result<()> {
    let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
    let output = stage.machine().node0().shell(line)?;
    ensure!(!output.success(), "{line}: {output}");
    let entry = stage.wait_for(mark, "self", |it| it.field("WATCHDOG_PATH") == "self")?;
    ensure!(entry.is("guard-tampered") && entry.field("WATCHDOG_ACTION") == "denied", "{entry:?}");
    goes_on(stage, watchdog)
}

/// Checks that the same watchdog runs, that the guard is whole, and that writes are denied.
pub(super) fn goes_on(stage: &Stage, watchdog: u32) -> Result<()> {
    ensure!(stage.watchdog()? == watchdog, "the watchdog was started anew");
    still_denies(stage)
}

pub(super) fn still_denies(stage: &Stage) -> Result<()> {
    let target = stage.machine().truth(1)?.text_phys_start;
    let attack = stage.attack_unchanged("mmap", target, &[])?;
    ensure!(attack.result == "EPERM", "the guard is off: {}", attack.result);
    Ok(())
}

/// Check that the executable cannot be written or cut under a guard whose watchdog has ended. While
/// it runs, the kernel itself refuses that.
fn executable_stays(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        stage.halt()?;
        for by in ["write", "truncate", "unlink", "rename", "replace"] {
            let output = stage.machine().node0().run(["disarm", "--by", by, "--file", WATCHDOG])?;
            ensure!(output.text().contains("\"EPERM\""), "{by}: {output}");
        }
        still_denies(stage)
    })
}

/// Check that no link can be detached or be given another program: the kernel has no such thing for
/// the guard's, so nothing needs to be denied.
fn links_stay(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let attack = stage.disarm_by("detach-link", "")?;
        ensure!(attack.result != "ok", "a link was detached");
        goes_on(stage, watchdog)
    })
}

/// Check that the command which makes baselines does not overwrite what the guard keeps, although
/// its executable is the one that the guard trusts, that this is told as what it is, and that it
/// still makes them elsewhere.
fn baseline_imported(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
        let image = std::fs::read(stage.kernel.image())?;
        stage.machine().node0().write("/tmp/vmlinuz", 0o644, &image)?;
        let import = format!("{WATCHDOG} baseline import --node service-1 --image /tmp/vmlinuz");
        let output = stage.machine().node0().shell(&import)?;
        ensure!(
            output.status == 2 && output.to_string().contains("keeps the baselines"),
            "{output}"
        );
        let told = stage.wait_for(mark, "self", |it| it.field("WATCHDOG_PATH") == "self")?;
        ensure!(told.is("guard-tampered") && told.field("WATCHDOG_EXE") == WATCHDOG, "{told:?}");
        stage.shell(&format!("{import} --state-dir /tmp/elsewhere; rm -r /tmp/elsewhere"))?;
        goes_on(stage, watchdog)
    })
}
