//! Root on node 0 against the guard itself: each way to switch it off or to stop its watchdog. The
//! guard refuses and reports every attempt, and stays in force.

use anyhow::{Result, ensure};

use super::acts::{Act, act, all_refused};
use super::guard::configured;
use super::journal::Entry;
use super::stage::WATCHDOG;
use super::{List, Stage, Start};

pub(super) const CASES: List = &[
    ("disarm: signals, tracers and limits", Start::Standard, |it| {
        all_refused(it, "self", &PROCESS)
    }),
    ("disarm: tables, links and pins", Start::Standard, |it| all_refused(it, "self", &PINS)),
    ("disarm: control groups, and the files that the guard keeps", Start::Standard, |it| {
        all_refused(it, "self", &FILES)
    }),
    ("disarm: every link detached or redirected", Start::Standard, links_stay),
    ("disarm: the executable written while no process runs it", Start::Standard, executable_stays),
    ("disarm: a baseline imported", Start::Standard, baseline_imported),
];

/// Acts against the watchdog's process.
pub(super) const PROCESS: [Act; 14] = [
    act("SIGKILL", "kill"),
    act("SIGSTOP", "stop"),
    act("SIGTERM by a pidfd", "pidfd"),
    act("SIGKILL to one thread", "thread"),
    act("SIGKILL as the signal of a file", "file-signal"),
    act("ptrace", "trace"),
    act("process_vm_writev", "write-memory"),
    act("/proc/PID/mem", "proc-mem"),
    act("a descriptor taken by pidfd_getfd", "steal-descriptor"),
    act("the watchdog's executable under a tracer", "traced-exec"),
    act("a counter that sends SIGTRAP (perf_event_open(2))", "counter"),
    act("no processor time", "processor-limit"),
    act("the idle scheduling class", "idle"),
    act("passing itself off as the watchdog", "impostor").on_pin("STATE"),
];

/// Acts against the guard's tables, links and pins.
pub(super) const PINS: [Act; 8] = [
    act("a pinned table", "pinned-table").on_pin("STATE"),
    act("every table by its id", "table-by-id"),
    act("the program detached from the root cgroup", "detach-program"),
    act("a link's pin removed", "unlink").on_pin("link-mmap_file"),
    act("a link's pin renamed", "rename").on_pin("link-mmap_file"),
    act("a folder of pins planted", "make-folder").on_pin(""),
    act("the pins unmounted", "unmount").at("/sys/fs/bpf"),
    act("/sys unmounted with the pins", "unmount").at("/sys"),
];

/// Acts against files that the watchdog depends on.
pub(super) const FILES: [Act; 11] = [
    act("cgroup.kill", "write").on_group("cgroup.kill"),
    act("cgroup.freeze", "write").on_group("cgroup.freeze"),
    act("memory.max of the cgroup", "write").on_group("memory.max"),
    act("the cgroup above frozen", "write").at("/sys/fs/cgroup/system.slice/cgroup.freeze"),
    act("the executable removed", "unlink").at(WATCHDOG),
    act("the executable replaced", "replace").at(WATCHDOG),
    act("the configuration written", "write").at(CONFIGURATION),
    act("the configuration removed", "unlink").at(CONFIGURATION),
    act("a file planted beside it", "make-file").at("/etc/watchdog"),
    act("a baseline written", "write").at(BASELINE),
    act("a baseline planted", "make-file").at(BASELINES),
];

pub(super) const CONFIGURATION: &str = "/etc/watchdog/watchdog.toml";
pub(super) const BASELINES: &str = "/var/lib/watchdog/baselines";
const BASELINE: &str = "/var/lib/watchdog/baselines/service-1.baseline";

/// A pin of the guard in force. The folder of that guard has the highest number.
pub(super) fn newest_pin(stage: &Stage, name: &str) -> Result<String> {
    let newest = stage.shell("ls /sys/fs/bpf/watchdog | sort -n | tail -1")?.text();
    Ok(format!("/sys/fs/bpf/watchdog/{}/{name}", newest.trim()))
}

/// Checks that an attempt is refused, and reported at priority 2 with this path and with its
/// process. The same watchdog must still run, and the guard must still deny.
pub(super) fn refused_as(stage: &Stage, path: &str, by: &str, file: &str) -> Result<()> {
    let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
    let attack = stage.disarm_by(by, file)?;
    // `/proc/PID/mem` is a file: its open fails with EACCES when the ptrace check refuses.
    let is_refused = match attack.result.as_str() {
        "EPERM" | "EACCES" => true,
        // The verifier does not know a helper that is withheld, and returns EINVAL.
        "EINVAL" => by == "write-user",
        _ => false,
    };
    ensure!(is_refused, "{by} {file}: {}", attack.result);
    // The summary of an earlier act may arrive now, so the process must match. With `traced-exec`,
    // the event names the attacker's child, which is the traced process.
    let is_its = |it: &Entry| it.field("WATCHDOG_PID") == attack.pid || by == "traced-exec";
    let entry = stage.wait_for(mark, path, |it| it.field("WATCHDOG_PATH") == path && is_its(it))?;
    ensure!(entry.is("guard-tampered") && entry.field("PRIORITY") == "2", "{entry:?}");
    ensure!(entry.field("WATCHDOG_ACTION") == "denied", "{entry:?}");
    ensure!(entry.field("WATCHDOG_COMM") == "disarm", "{entry:?}");
    goes_on(stage, watchdog)
}

/// Checks that a line of shell is refused, and that the attempt is reported as `guard-tampered`.
pub(super) fn refused_by_shell(stage: &Stage, line: &str) -> Result<()> {
    let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
    let output = stage.machine().node0().shell(line)?;
    ensure!(!output.success(), "{line}: {output}");
    let entry = stage.wait_for(mark, "self", |it| it.field("WATCHDOG_PATH") == "self")?;
    ensure!(entry.is("guard-tampered") && entry.field("WATCHDOG_ACTION") == "denied", "{entry:?}");
    goes_on(stage, watchdog)
}

/// Checks that the same watchdog still runs and that the guard still denies writes.
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

/// Check that the executable cannot be changed, removed or replaced after the watchdog has ended.
/// While the watchdog runs, the kernel itself refuses to write or truncate it.
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

/// Check that no link can be detached or given another program. The kernel has no such operation
/// for the guard's links, so the guard does not have to deny it.
fn links_stay(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let attack = stage.disarm_by("detach-link", "")?;
        ensure!(attack.result != "ok", "a link was detached");
        goes_on(stage, watchdog)
    })
}

/// Check that `baseline import` does not overwrite a baseline that the guard protects, although it
/// runs the executable that the guard trusts. The attempt must be reported with that executable.
/// The command must still import a baseline elsewhere.
fn baseline_imported(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
        let image = std::fs::read(stage.kernel.image())?;
        stage.machine().node0().write("/tmp/vmlinuz", 0o644, &image)?;
        let import = format!("{WATCHDOG} baseline import --node service-1 --image /tmp/vmlinuz");
        let output = stage.machine().node0().shell(&import)?;
        ensure!(
            output.status == 2 && output.to_string().contains("protects the baselines"),
            "{output}"
        );
        let reported = stage.wait_for(mark, "self", |it| it.field("WATCHDOG_PATH") == "self")?;
        ensure!(
            reported.is("guard-tampered") && reported.field("WATCHDOG_EXE") == WATCHDOG,
            "{reported:?}"
        );
        stage.shell(&format!("{import} --state-dir /tmp/elsewhere; rm -r /tmp/elsewhere"))?;
        goes_on(stage, watchdog)
    })
}
