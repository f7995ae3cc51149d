//! The guard: what it must deny, what it must allow, and attempts to switch it off.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::snapshots::MIXED;
use super::{List, Stage, Start};
use crate::layout;

pub(super) const CASES: List = &[
    (
        "guard: every write path into a node is denied with one alert",
        Start::Learned,
        writes_are_denied,
    ),
    ("guard: reading stays allowed", Start::Standard, reading_is_allowed),
    (
        "guard: all of a node's ranges and the local APIC, and nothing else",
        Start::Learned,
        exactly_the_ranges,
    ),
    (
        "guard: stays when the service has ended, until it is disarmed",
        Start::Standard,
        stays_until_disarmed,
    ),
    ("guard: opening for writing denied when configured so", Start::Learned, open_denied),
    ("guard: an alert when it is switched off by ftrace_enabled", Start::Mixed, switched_off),
];

/// Attacks that write, each with the name of its path in events.
const WRITES: [(&str, &str); 9] = [
    ("write", "write"),
    ("pwrite", "write"),
    ("writev", "write"),
    ("io-uring", "write"),
    ("mmap", "mmap"),
    ("mmap-validate", "mmap"),
    ("remap-file-pages", "remap-file-pages"),
    ("mprotect", "mprotect"),
    ("pkey-mprotect", "mprotect"),
];
/// Attacks that must stay allowed on protected memory.
const HARMLESS: [&str; 4] = ["open", "read", "mmap-read", "mmap-private"];
/// A range that is reserved and belongs to no node: node 0's own place in Mint's scheme.
pub(super) const UNOWNED_MEMORY: u64 = 0x2000_3000;
/// Leaves everything that this scheme reserves for node 0 writable.
pub(super) const BESIDE: &str = "[guard]\ndev_mem_writable = [\"0x20000000..0x38000000\"]";
/// Leaves the page where processors begin (`layout::TRAMPOLINE`) writable for loaders. It belongs
/// to no node.
pub const TRAMPOLINE: &str = "dev_mem_writable = [\"0x90000..0x91000\"]";
/// Two pages of [`BESIDE`] that an attacker may map writable first.
pub(super) const VIA: [&str; 2] = ["--via", "0x20001000"];

/// Check that each way to write into node 2's text fails with EPERM and leaves the bytes as they
/// were. Each must be reported exactly once, with the writer's name.
fn writes_are_denied(stage: &Stage) -> Result<()> {
    configured(stage, BESIDE, || {
        let target = stage.machine().truth(2)?.text_phys_start + 0x1000;
        let before = stage.byte(target)?;
        let value = format!("{:#x}", before ^ 0xff);
        let mark = stage.mark()?;
        let mut attackers = Vec::new();
        for (path, event_path) in WRITES {
            let attack = stage.attack(path, target, &["--value", &value, VIA[0], VIA[1]])?;
            ensure!(attack.result == "EPERM", "{path}: {}", attack.result);
            ensure!(stage.byte(target)? == before, "{path} changed the text");
            attackers.push((attack.pid, path, event_path));
        }
        for (pid, path, _) in &attackers {
            stage.wait_for(mark, path, |entry| entry.field("WATCHDOG_PID") == pid)?;
        }
        thread::sleep(Duration::from_secs(1));
        let entries = stage.alerts(mark)?;
        for (pid, path, event_path) in attackers {
            let of_it: Vec<_> =
                entries.iter().filter(|entry| entry.field("WATCHDOG_PID") == pid).collect();
            ensure!(of_it.len() == 1, "{path} ({pid}): {of_it:#?}\nof {entries:#?}");
            let expected = [
                ("WATCHDOG_EVENT", "write-denied"),
                ("WATCHDOG_PATH", event_path),
                ("WATCHDOG_ACTION", "denied"),
                ("WATCHDOG_NODE", "service-2"),
                ("WATCHDOG_UID", "0"),
                ("PRIORITY", "4"),
            ];
            for (field, value) in expected {
                ensure!(of_it[0].field(field) == value, "{path}: {field} of {:#?}", of_it[0]);
            }
            // For io_uring, a worker thread of the process writes. It has a name of its own.
            let comm = of_it[0].field("WATCHDOG_COMM");
            let by_worker = path == "io-uring" && comm.starts_with("iou-wrk-");
            ensure!(comm == "attack" || by_worker, "{path}: comm {comm}");
            // If the process has ended before /proc is read, the path is relative to its mount.
            let exe = of_it[0].field("WATCHDOG_EXE");
            ensure!(exe == "/host/attack" || exe == "/attack", "{path}: exe {exe}");
            // A write is reported with its exact address, a mapping with the address of its page.
            let at = if event_path == "write" { target } else { target & !0xfff };
            ensure!(of_it[0].field("WATCHDOG_PHYS") == format!("{at:#x}"), "{:#?}", of_it[0]);
        }
        ensure!(entries.len() == WRITES.len(), "{} entries: {entries:#?}", entries.len());
        Ok(())
    })
}

/// Check that reading protected memory, mapping it read-only or as a private copy, and opening the
/// device for writing all succeed without an alert.
fn reading_is_allowed(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let target = stage.machine().truth(1)?.text_phys_start;
        let mark = stage.mark()?;
        for path in HARMLESS {
            let attack = stage.attack(path, target, &[])?;
            ensure!(attack.result == "ok", "{path}: {}", attack.result);
        }
        thread::sleep(Duration::from_secs(1));
        let entries = stage.alerts(mark)?;
        ensure!(entries.is_empty(), "{entries:#?}");
        Ok(())
    })
}

/// Check that the first and the last byte of every range of every node are guarded, and the local
/// APIC. The same calls right beside them must succeed, and must write where the configuration
/// allows it.
fn exactly_the_ranges(stage: &Stage) -> Result<()> {
    configured(stage, BESIDE, || {
        let ranges = [1, 2].into_iter().flat_map(|node| {
            [layout::main_range(node), layout::real_mode_range(node), layout::low_range(node)]
        });
        let mut forbidden: Vec<u64> =
            ranges.flat_map(|range| [range.start, range.end - 1]).collect();
        forbidden.push(0xfee0_0300);
        for at in forbidden {
            let before = stage.attack("mmap-read", at, &[])?;
            ensure!(before.result == "ok", "reading {at:#x}: {}", before.result);
            for path in ["mmap", "mprotect", "remap-file-pages"] {
                let attack = stage.attack_unchanged(path, at, &VIA)?;
                ensure!(attack.result == "EPERM", "{path} at {at:#x}: {}", attack.result);
            }
        }
        let first = layout::main_range(1).start;
        for (path, _) in WRITES {
            for at in [UNOWNED_MEMORY, first - 1] {
                let value = stage.byte(at)? ^ 0xff;
                let attack =
                    stage.attack(path, at, &["--value", &format!("{value:#x}"), VIA[0], VIA[1]])?;
                ensure!(attack.result == "ok", "{path} at {at:#x}: {}", attack.result);
                ensure!(stage.byte(at)? == value, "{path} at {at:#x} wrote nothing");
            }
        }
        // A mapping may cross the border: only the part that is made writable counts.
        let beside = stage.attack("mprotect-beside", first, &[])?;
        ensure!(beside.result == "ok", "mprotect beside a node: {}", beside.result);
        Ok(())
    })
}

/// Check that `open = "deny"` denies a writable open of the device, under any name, with one alert
/// each. Reading must work, and the guard must still pass its self-test.
fn open_denied(stage: &Stage) -> Result<()> {
    configured(stage, "[guard.paths]\nopen = \"deny\"", || {
        let mark = stage.mark()?;
        let attack = stage.attack("open", UNOWNED_MEMORY, &[])?;
        ensure!(attack.result == "EPERM", "{}", attack.result);
        let alert = stage.wait_for(mark, "write-denied", |entry| entry.is("write-denied"))?;
        ensure!(alert.field("WATCHDOG_PATH") == "open", "{alert:?}");
        stage.shell("mknod /tmp/other c 1 1")?;
        let other = stage.attack("open", UNOWNED_MEMORY, &["--device", "/tmp/other"])?;
        stage.shell("rm /tmp/other")?;
        ensure!(other.result == "EPERM", "by another name: {}", other.result);
        stage.wait_for(mark, "the other name", |it| it.field("WATCHDOG_PID") == other.pid)?;
        let read = stage.attack("read", UNOWNED_MEMORY, &[])?;
        ensure!(read.result == "ok", "{}", read.result);
        thread::sleep(Duration::from_secs(3));
        let entries = stage.alerts(mark)?;
        ensure!(entries.len() == 2, "{entries:#?}");
        Ok(())
    })
}

/// Check `sysctl kernel.ftrace_enabled=0`, which turns the guard's programs off, where policy only
/// observes it. It must be reported within two periods, and the programs must really be off. Their
/// return must be reported.
fn switched_off(stage: &Stage) -> Result<()> {
    configured(stage, MIXED, || {
        let mark = stage.mark()?;
        let target = stage.machine().truth(1)?.text_phys_start;
        let took = stage.stopwatch()?;
        stage.shell("sysctl -q kernel.ftrace_enabled=0")?;
        let alert = stage.wait_for(mark, "guard-tampered", |entry| {
            entry.is("guard-tampered") && entry.field("MESSAGE").contains("no longer denies")
        });
        // It writes the byte that is there: the text stays as it is although the write goes
        // through.
        let write = stage.attack("mmap", target, &[]);
        stage.shell("sysctl -q kernel.ftrace_enabled=1")?;
        let alert = alert?;
        let took = took(&alert)?;
        stage.note(&format!("the guard switched off: alerted after {took:.1?}"));
        ensure!(took <= PERIOD * 2, "the alert took {took:?}");
        ensure!(alert.field("PRIORITY") == "2");
        ensure!(write?.result == "ok", "it was not off: the alert was for nothing");
        stage.wait_for(mark, "guard-armed", |entry| entry.is("guard-armed"))?;
        stage.wait_for(mark, "who did it", |entry| {
            entry.is("guard-tampered") && entry.field("WATCHDOG_ACTION") == "observed"
        })?;
        let again = stage.attack("mmap", target, &[])?;
        ensure!(again.result == "EPERM", "not denied any more: {}", again.result);
        Ok(())
    })
}

/// Check that denied writes stay denied after the service has ended. They must succeed after the
/// guard is disarmed, which shows that the guard denied them.
fn stays_until_disarmed(stage: &Stage) -> Result<()> {
    let target = stage.machine().truth(1)?.text_phys_start;
    configured(stage, "", || {
        stage.halt()?;
        let attack = stage.attack("pwrite", target, &[])?;
        ensure!(attack.result == "EPERM", "{}", attack.result);
        stage.start()
    })?;
    stage.idle()?;
    for (path, _) in WRITES {
        let attack = stage.attack(path, target, &VIA)?;
        ensure!(attack.result == "ok", "{path} without a guard: {}", attack.result);
    }
    // The driver itself does not support io_submit(2), so the guard has nothing to deny there.
    let aio = stage.attack("aio", target, &[])?;
    ensure!(aio.result == "EINVAL", "aio without a guard: {}", aio.result);
    Ok(())
}

/// Runs a case with both nodes configured with all their ranges, and more lines.
pub(super) fn configured(
    stage: &Stage,
    more: &str,
    case: impl FnOnce() -> Result<()>,
) -> Result<()> {
    stage.configured(&configuration(more), case)
}

/// The period of sweeps: one that a slow machine under emulation can keep.
pub(super) const PERIOD: Duration = Duration::from_secs(2);

/// A configuration of both nodes with all their ranges, and more lines.
#[must_use]
pub fn configuration(more: &str) -> String {
    let mut text = format!("period = \"{}s\"\n{more}\n", PERIOD.as_secs());
    for node in [1, 2] {
        let ranges =
            [layout::main_range(node), layout::real_mode_range(node), layout::low_range(node)]
                .map(|range| format!("\"{:#x}..{:#x}\"", range.start, range.end));
        text += &format!("[[node]]\nname = \"service-{node}\"\nranges = [{}]\n", ranges.join(", "));
    }
    text
}
