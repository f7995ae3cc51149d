//! Attacks on the trusted program: false surroundings, breakpoints in its executable, and a disarm
//! that no journal records.

use std::fs;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSegment};

use super::service::{another, between_watchdogs};
use crate::cache;
use crate::cases::disarming::{CONFIGURATION, goes_on, newest_pin, still_denies};
use crate::cases::guard::configured;
use crate::cases::stage::{UNIT, WATCHDOG};
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: the next watchdog in a world that was made for it", Start::Standard, made_up),
    ("siege: files that the next watchdog is to take for others", Start::Standard, mistaken),
    ("siege: a root that the next watchdog shares", Start::Standard, shared_root),
    ("siege: kernel facts that the next watchdog cannot know", Start::Standard, hidden_facts),
    ("siege: probes in the watchdog's executable", Start::Standard, probes),
    ("siege: a guard that is taken down unheard", Start::Learned, unheard),
];

/// Starts the watchdog where nothing is as it is for process 1. `/proc/PID` has the attacker's
/// executable. The journal, the memory device, the control groups and the pins are others. The
/// watchdog gets a configuration and a state directory of its own.
const WORLD: &str = "
    mkdir -p /tmp/w/fake /tmp/w/proc /tmp/w/state
    cp $(command -v disarm) /tmp/w/evil
    cp /etc/watchdog/watchdog.toml /tmp/w/
    cat >/tmp/w/begin <<'END'
        mount -t proc proc /tmp/w/proc
        for it in /tmp/w/proc/self/*; do
            ln -s /tmp/w/proc/$$/${it##*/} /tmp/w/fake/
        done
        rm /tmp/w/fake/exe
        cp /tmp/w/evil /tmp/w/fake/exe
        mount --bind /tmp/w/fake /proc/$$
        mount -t tmpfs none /run
        mount --bind /tmp/w/evil /dev/mem
        mount --bind /sys/fs/cgroup/system.slice /sys/fs/cgroup
        mount -t bpf none /sys/fs/bpf
        exec /usr/bin/watchdog run --config /tmp/w/watchdog.toml --state-dir /tmp/w/state
END
    systemd-run --quiet --unit=other unshare --mount --propagation private sh /tmp/w/begin";

/// Check a watchdog that starts in its own mount namespace, where everything that it relies on
/// leads elsewhere, and with files of its own. It must report to the machine's journal. The guard
/// must trust no other executable, and protect the old files as well as the new ones.
fn made_up(stage: &Stage) -> Result<()> {
    between_watchdogs(stage, || {
        let mark = stage.mark()?;
        stage.shell(WORLD)?;
        stage.wait_for(mark, "the other watchdog", |entry| entry.is("guard-armed"))?;
        let pin = newest_pin(stage, "STATE")?;
        let refused = |program: &str, by: &str, file: &str| -> Result<()> {
            let output = stage.machine().node0().run([program, "--by", by, "--file", file])?;
            ensure!(output.text().contains("\"EPERM\""), "{program} --by {by} {file}: {output}");
            Ok(())
        };
        refused("/tmp/w/fake/exe", "pinned-table", &pin)?;
        refused("disarm", "write", CONFIGURATION)?;
        refused("disarm", "make-file", "/var/lib/watchdog/baselines")?;
        refused("disarm", "write", "/tmp/w/watchdog.toml")?;
        still_denies(stage)?;
        stage.shell("systemctl stop other").map(drop)
    })
}

/// Check that no guard is armed if another file is mounted over the memory device, or another group
/// over the root of the control groups. A watchdog that cannot leave its own mount namespace must
/// not arm one either.
fn mistaken(stage: &Stage) -> Result<()> {
    let over = |file: &str, place: &str| {
        format!("mount --bind {file} {place}; {WATCHDOG} run; echo status $?; umount {place}")
    };
    let memory = over("/tmp/mem", "/dev/mem");
    let groups = over("/sys/fs/cgroup/system.slice", "/sys/fs/cgroup");
    let bound = format!(
        "setpriv --bounding-set -sys_chroot unshare --mount --propagation private {WATCHDOG} run
         echo status $?"
    );
    between_watchdogs(stage, || {
        stage.shell("touch /tmp/mem")?;
        for (line, says) in [
            (&memory, "/dev/mem is not the kernel's memory device"),
            (&groups, "not the root of all control groups"),
            (&bound, "this process has its own mount namespace or root directory"),
        ] {
            let run = stage.machine().node0().shell(line)?;
            let said = run.to_string();
            ensure!(said.contains("status 2") && said.contains(says), "{line}: {said}");
        }
        Ok(())
    })
}

/// Check a watchdog that starts with a root that it shares with another process. When that process
/// changes its root, the watchdog must keep the old one and still find the journal.
fn shared_root(stage: &Stage) -> Result<()> {
    between_watchdogs(stage, || {
        let mark = stage.mark()?;
        stage.shell(
            "mkdir -p /tmp/other
             by=$(command -v disarm)
             systemd-run --quiet --unit=other $by --by shared-root --file /tmp/other",
        )?;
        stage.wait_for(mark, "the other watchdog", |entry| entry.is("guard-armed"))?;
        stage.shell("touch /tmp/other/go; until test -e /tmp/other/gone; do sleep 0.05; done")?;
        let target = stage.machine().truth(1)?.text_phys_start;
        let attack = stage.attack_unchanged("mmap", target, &[])?;
        ensure!(attack.result == "EPERM", "{}", attack.result);
        stage.wait_for(mark, "the attempt", |it| it.field("WATCHDOG_PID") == attack.pid)?;
        stage.shell("systemctl stop other").map(drop)
    })
}

/// Check that a watchdog does not take the guard over if it sees fewer facts of the kernel or runs
/// in a time namespace of its own.
fn hidden_facts(stage: &Stage) -> Result<()> {
    between_watchdogs(stage, || {
        let shell = |line: &str| stage.machine().node0().shell(line);
        let later = shell("unshare --fork --time --boottime 1000000 /usr/bin/watchdog run")?;
        ensure!(later.status == 2 && later.to_string().contains("time namespace"), "{later}");
        let before = stage.shell("sysctl -n kernel.kptr_restrict")?.text();
        stage.shell("sysctl -qw kernel.kptr_restrict=2")?;
        let blind = shell(&format!("{WATCHDOG} run"))?;
        stage.shell(&format!("sysctl -qw kernel.kptr_restrict={}", before.trim()))?;
        let says_so = blind.to_string().contains("kernel.kptr_restrict");
        ensure!(blind.status == 2 && says_so, "{blind}");
        Ok(())
    })
}

/// Check that no breakpoint of a uprobe gets into the watchdog, and that a process that sets one is
/// killed. A process of the executable that gets one at its start is killed too. Both must be
/// reported.
fn probes(stage: &Stage) -> Result<()> {
    const EVENT: &str = "/sys/kernel/tracing/events/siege/entry/enable";
    configured(stage, "", || {
        let watchdog = stage.watchdog()?;
        let entry = entry_in_file()?;
        let shell = |line: &str| stage.machine().node0().shell(line);
        stage.shell(&format!(
            "mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing
             echo 'p:siege/entry {WATCHDOG}:{entry:#x}' >>/sys/kernel/tracing/uprobe_events"
        ))?;
        let mark = stage.mark()?;
        let set = shell(&format!("sh -c 'echo 1 >{EVENT}; echo went on'"))?;
        ensure!(!set.text().contains("went on"), "{set}");
        let killed = stage.wait_for(mark, "who sets it", |it| it.field("WATCHDOG_COMM") == "sh")?;
        ensure!(killed.is("guard-tampered") && killed.field("PRIORITY") == "2", "{killed:?}");
        ensure!(killed.field("WATCHDOG_ACTION") == "killed", "{killed:?}");
        // A page that was written would be private to the process and dirty.
        let own = stage.shell(&format!(
            "awk '/^[0-9a-f]+-/ {{ text = / r-xp / && /watchdog$/ }}
                  text && /^Private_Dirty:/ {{ sum += $2; n += 1 }}
                  END {{ print n, sum }}' /proc/{watchdog}/smaps"
        ))?;
        ensure!(own.text().trim() == "1 0", "the text was written: {own}");
        // The watchdog's memory is locked, so none of it returns from a disk.
        stage.shell(&format!("awk '/^VmLck:/ {{ exit !($2 > 0) }}' /proc/{watchdog}/status"))?;
        goes_on(stage, watchdog)?;
        stage.halt()?;
        let mark = stage.mark()?;
        stage.shell(&format!("echo 1 >{EVENT}"))?;
        let status = shell(&format!("{WATCHDOG} guard status"))?;
        ensure!(status.text().is_empty(), "with a probe at its beginning: {status}");
        still_denies(stage)?;
        stage.shell(&format!("echo 0 >{EVENT}; echo >/sys/kernel/tracing/uprobe_events"))?;
        stage.start()?;
        another(stage, watchdog)?;
        let killed = stage.wait_for(mark, "who had it", |entry| {
            entry.field("WATCHDOG_COMM") == "watchdog" && entry.is("guard-tampered")
        })?;
        ensure!(killed.field("WATCHDOG_ACTION") == "killed", "{killed:?}");
        Ok(())
    })
}

/// The offset of the watchdog's first instruction in its file.
fn entry_in_file() -> Result<u64> {
    let bytes = fs::read(cache::guest_programs().join("watchdog"))?;
    let file = object::File::parse(&*bytes)?;
    let entry = file.entry();
    let mut segments = file.segments();
    let segment = segments.find(|it| (it.address()..it.address() + it.size()).contains(&entry));
    let segment = segment.context("no segment has the entry")?;
    Ok(segment.file_range().0 + (entry - segment.address()))
}

/// Check that the journal has the event before the guard is disarmed. The command may run in a
/// mount namespace whose `/run` has no journal. Without a journal, the guard must stay in force.
fn unheard(stage: &Stage) -> Result<()> {
    const UNITS: &str = "systemd-journald.socket systemd-journald-dev-log.socket \
                         systemd-journald-audit.socket systemd-journald.service";
    configured(stage, "[guard]\ndisarm = \"root\"", || {
        stage.halt()?;
        let shell = |line: &str| stage.machine().node0().shell(line);
        let unheard = shell(&format!(
            "systemctl stop {UNITS}; {WATCHDOG} guard disarm; echo status $?
             systemctl start {UNITS}"
        ))?;
        ensure!(unheard.text().contains("status 2"), "{unheard}");
        still_denies(stage)?;
        let mark = stage.mark()?;
        stage.shell(&format!(
            "unshare --mount --propagation private sh -c 'mount -t tmpfs none /run; {WATCHDOG} \
             guard disarm'"
        ))?;
        stage.wait_for(mark, "that it is taken down", |entry| entry.is("guard-disarmed"))?;
        stage.shell(&format!("systemctl start {UNIT}")).map(drop)
    })
}
