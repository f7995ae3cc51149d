//! What would end the watch, blind it or turn it against itself, without an attack on the guard.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::discovery::json_lines;
use super::guard::{PERIOD, configured};
use super::journal::Entry;
use super::stage::{UNIT, WATCHDOG};
use super::{List, Stage, Start};

pub(super) const CASES: List = &[
    (
        "robust: commands that the guard does not trust write nothing that it keeps",
        Start::Standard,
        deputies,
    ),
    ("robust: signals that process 1 is asked to send", Start::Standard, signals),
    ("robust: a node whose processor is taken", Start::Learned, processor_taken),
];

pub(super) const OF_THE_PROGRAM: List = &[
    ("robust: readers that go, terminals, files that are none", Start::Standard, surroundings),
    ("robust: no room for a baseline", Start::Ready, no_room),
];

const CONFIGURATION: &str = "/etc/watchdog/watchdog.toml";
const BASELINE: &str = "/var/lib/watchdog/baselines/service-1.baseline";

/// Check that no command but `run` and `guard` can be made to write what the guard protects.
/// Neither a link at a place that a command writes, nor a watch that arms no guard, may do that.
/// The commands must still work.
fn deputies(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let kept = format!("sha256sum {CONFIGURATION} {BASELINE}");
        let before = stage.shell(&kept)?.text();
        let shell = |line: &str| stage.machine().node0().shell(line);
        stage.shell(&format!(
            "mkdir /tmp/man; ln -s {CONFIGURATION} /tmp/man/watchdog.1
             ln -s {BASELINE} /tmp/man/.watchdog-run.1.unfinished"
        ))?;
        shell(&format!("{WATCHDOG} man /tmp/man"))?;
        ensure!(shell(&kept)?.text() == before, "a page was written through a link");
        let page =
            stage.shell("test ! -L /tmp/man/watchdog.1; head -c 4000 /tmp/man/watchdog.1")?;
        ensure!(page.text().contains("watchdog"), "{page}");
        let image = std::fs::read(stage.kernel.image())?;
        stage.machine().node0().write("/tmp/vmlinuz", 0o644, &image)?;
        // These write into the protected folder itself, which only `run` and `guard` may write.
        for line in [
            format!("{WATCHDOG} man /etc/watchdog"),
            format!(
                "mkdir -p /tmp/state; ln -s /etc/watchdog /tmp/state/baselines
                 {WATCHDOG} baseline import --node a --image /tmp/vmlinuz --state-dir /tmp/state"
            ),
        ] {
            let output = shell(&line)?;
            ensure!(output.status == 2, "{line}: {output}");
        }
        learns_elsewhere(stage)?;
        let listed = stage.shell("ls -A /etc/watchdog")?.text();
        ensure!(listed.trim() == "watchdog.toml", "{listed}");
        for line in ["scan", "locate", "baseline check"] {
            let output = shell(&format!("{WATCHDOG} {line}"))?;
            ensure!(output.success(), "{line}: {output}");
        }
        ensure!(shell(&kept)?.text() == before, "what the guard keeps was changed");
        ensure!(stage.watchdog()? == watchdog, "the watchdog was started again");
        Ok(())
    })
}

/// Check that a watch that arms no guard, here because another watchdog runs, stores no baseline
/// beside the protected ones.
fn learns_elsewhere(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    let other = stage.machine().node0().spawn([
        WATCHDOG,
        "run",
        "--degraded",
        "--node",
        "b=0x38000000..0x50000000",
    ])?;
    stage.wait_for(mark, "no guard", |it| it.field("MESSAGE").contains("guard cannot be armed"))?;
    stage.wait_for(mark, "a baseline that is not stored", |entry| {
        entry.field("WATCHDOG_NODE") == "b" && entry.field("MESSAGE").contains("not be stored")
    })?;
    other.signal(libc::SIGTERM)?;
    let output = other.wait(Duration::from_secs(60))?;
    ensure!(output.success(), "{output}");
    stage.shell("test ! -e /var/lib/watchdog/baselines/b.baseline").map(drop)
}

/// Check that the watch survives every signal that is not meant to end it. When a signal ends it,
/// systemd must restart it; after `systemctl stop`, systemd must not.
fn signals(stage: &Stage) -> Result<()> {
    const HARMLESS: [&str; 13] = [
        "HUP", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT", "XCPU", "XFSZ", "PIPE",
        "RTMIN", "RTMAX",
    ];
    configured(stage, "", || {
        let (mark, watchdog) = (stage.mark()?, stage.watchdog()?);
        for signal in HARMLESS {
            stage.shell(&format!("systemctl kill -s {signal} {UNIT}"))?;
        }
        thread::sleep(Duration::from_secs(3));
        ensure!(stage.watchdog()? == watchdog, "the watchdog was started again");
        let entries = stage.alerts(mark)?;
        ensure!(entries.is_empty(), "{entries:#?}");
        stage.shell(&format!("systemctl kill -s TERM {UNIT}"))?;
        stage.wait_for(mark, "its end", |entry| entry.is("stopped"))?;
        stage.wait_for(mark, "its next start", |entry| entry.is("guard-armed"))?;
        stage.halt()?;
        thread::sleep(Duration::from_secs(4));
        let state = stage.shell(&format!("systemctl show -p ActiveState --value {UNIT}"))?;
        ensure!(state.text().trim() == "inactive", "{state}");
        Ok(())
    })
}

/// Check how commands react to an output that is closed or full, and to files that are not
/// configurations. Escape sequences in a name must not reach the terminal. On a terminal, `run`
/// must say how to end it.
fn surroundings(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let shell = |line: &str| stage.machine().node0().shell(line);
        for line in ["guard status", "guard status --json", "scan --verbose", "--help"] {
            let gone = format!("{{ sleep 1; {WATCHDOG} {line}; echo \"status $?\" >&2; }} | true");
            let output = shell(&gone)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // 128 and SIGPIPE. The parser prints its help and ignores a closed output.
            let ends = if line == "--help" { "status " } else { "status 141" };
            ensure!(said.contains(ends) && !said.contains("panicked"), "{line}: {output}");
            let full = shell(&format!("{WATCHDOG} {line} >/dev/full"))?;
            ensure!(!full.to_string().contains("panicked"), "{line}: {full}");
        }
        stage.shell("mkfifo /tmp/pipe; truncate -s 2M /tmp/huge")?;
        for file in ["/tmp/pipe", "/dev/zero", "/tmp", "/tmp/huge"] {
            let output = shell(&format!("timeout 20 {WATCHDOG} scan --config {file}"))?;
            ensure!(output.status == 2 && output.to_string().contains(file), "{file}: {output}");
        }
        let escape = "\u{1b}[31m";
        let output = shell(&format!("{WATCHDOG} scan --memory 'raw:/a{escape}b'"))?;
        ensure!(output.status == 2 && !output.to_string().contains('\u{1b}'), "{output}");
        let typed = format!("script -qec 'timeout 60 {WATCHDOG} run' /dev/null");
        let output = shell(&typed)?;
        ensure!(output.text().contains("Press Ctrl-C here"), "{output}");
        json_reader_gone(stage)
    })
}

/// Check that `run --json` goes on after its reader has gone, and reports that in the journal.
fn json_reader_gone(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    let line = format!(
        "trap '' TERM; {{ {WATCHDOG} run --json --degraded; echo \"status $?\" >&2; }} | head -1"
    );
    let other = stage.machine().node0().spawn(["sh", "-c", &line])?;
    let gone =
        |entry: &Entry| entry.field("MESSAGE").contains("No more events go to standard output");
    stage.wait_for(mark, "a reader that is gone", gone)?;
    stage.wait_for(mark, "the watch goes on", |entry| entry.is("node-found"))?;
    other.signal(libc::SIGTERM)?;
    let output = other.wait(Duration::from_secs(60))?;
    ensure!(output.to_string().contains("status 0"), "{output}");
    Ok(())
}

/// Check that a file system without room for a baseline is reported and does not end the watch.
/// Text must be judged by the learned baseline, which must be stored once there is room.
fn no_room(stage: &Stage) -> Result<()> {
    const STATE: &str = "/var/lib/watchdog";
    stage.shell(&format!("mkdir -p {STATE}; mount -t tmpfs -o size=64k none {STATE}"))?;
    let mark = stage.mark()?;
    stage.watched(|| {
        let degraded = |node: u8| {
            let (node, full) = (format!("service-{node}"), "could not be stored");
            move |entry: &Entry| {
                entry.is("guard-degraded")
                    && entry.field("WATCHDOG_NODE") == node
                    && entry.field("MESSAGE").contains(full)
            }
        };
        for node in [1, 2] {
            let entry = stage.wait_for(mark, "no room", degraded(node))?;
            ensure!(entry.field("PRIORITY") == "3", "{entry:?}");
        }
        let at = stage.machine().truth(2)?.text_phys_start + 0x4321;
        let before = stage.byte(at)?;
        stage.poke(at, before ^ 1)?;
        stage.wait_for(mark, "a changed byte", |entry| entry.is("text-tampered"))?;
        stage.poke(at, before)?;
        stage.wait_for(mark, "text-clean", |entry| entry.is("text-clean"))?;
        stage.shell(&format!("mount -o remount,size=100m {STATE}"))?;
        for node in [1, 2] {
            let node = format!("service-{node}");
            stage.wait_for(mark, "a stored baseline", |entry| {
                entry.is("baseline-learned") && entry.field("WATCHDOG_NODE") == node
            })?;
        }
        let output = stage.shell(&format!("{WATCHDOG} baseline check"))?;
        ensure!(output.text().matches("learned").count() == 2, "{output}");
        Ok(())
    })
}

/// Check that the guard reports a node's processor that node 0 takes, with its number, where policy
/// only observes this. (Linux resets a processor by INIT before it starts it.) `run` and `scan`
/// must report the node when its clocks have stood still for too long. Its text must still be
/// judged.
fn processor_taken(stage: &Stage) -> Result<()> {
    /// An idle kernel wakes up every 4 s, and may be late.
    const ASLEEP: Duration = Duration::from_secs(7);
    configured(stage, "[guard.paths]\nprocessors = \"observe\"", || {
        let healthy = stage.machine().node0().run([WATCHDOG, "scan", "--json"])?;
        ensure!(healthy.success(), "{healthy}");
        let reports = json_lines(&healthy.text())?;
        ensure!(reports.iter().all(|report| report["alive"] == true), "{healthy}");
        let (mark, took) = (stage.mark()?, stage.stopwatch()?);
        stage.shell("echo 1 >/sys/devices/system/cpu/cpu2/online")?;
        let lost = stage.wait_for(mark, "node-lost", |entry| entry.is("node-lost"))?;
        let took = took(&lost)?;
        let started = stage.wait_for(mark, "the processor", |entry| {
            entry.field("WATCHDOG_PATH") == "processors"
                && entry.field("MESSAGE").contains("(processor 2)")
        })?;
        ensure!(started.is("guard-tampered"), "{started:?}");
        stage.note(&format!("reported {took:.1?} after the processor was taken"));
        ensure!(lost.field("WATCHDOG_NODE") == "service-2", "{lost:?}");
        ensure!(lost.field("MESSAGE").contains("have not advanced"), "{lost:?}");
        ensure!(took <= ASLEEP + PERIOD * 3, "it took {took:?}");
        let scanned = stage.machine().node0().run([WATCHDOG, "scan", "--json"])?;
        ensure!(scanned.status == 2, "{scanned}");
        let reports = json_lines(&scanned.text())?;
        let alive: Vec<_> = reports.iter().map(|report| report["alive"].as_bool()).collect();
        ensure!(alive == [Some(true), Some(false)], "{scanned}");
        let at = stage.machine().truth(2)?.text_phys_start + 0x4321;
        let before = stage.byte(at)?;
        stage.poke(at, before ^ 1)?;
        let judged = stage.wait_for(mark, "a changed byte", |entry| entry.is("text-tampered"))?;
        ensure!(judged.field("WATCHDOG_NODE") == "service-2", "{judged:?}");
        let shown = stage.machine().node0().run([WATCHDOG, "scan"])?;
        ensure!(shown.status == 1 && shown.text().contains("NOT ALIVE"), "{shown}");
        let entries = stage.alerts(mark)?;
        let lost = entries.iter().filter(|entry| entry.is("node-lost")).count();
        ensure!(lost == 1, "{entries:#?}");
        Ok(())
    })
}
