//! `/dev/mem` outside the nodes: the devices that stop and steer every node, and reserved memory
//! that belongs to no node. Also `/dev/mem` that is open, but not in the table of any process.

use anyhow::{Context, Result, ensure};

use crate::cases::guard::{UNOWNED_MEMORY, configured};
use crate::cases::leases::begin;
use crate::cases::snapshots::STRICT;
use crate::cases::{List, Stage, Start};

pub(in crate::cases) const CASES: List = &[
    ("siege: devices' registers by /dev/mem", Start::Standard, devices),
    ("siege: reserved memory beside the nodes by /dev/mem", Start::Standard, |it| {
        configured(it, "", || denied(it, &["write", "mmap"], &[UNOWNED_MEMORY]))
    }),
    ("siege: a range that the configuration names stays writable", Start::Learned, named),
    ("siege: /dev/mem in a socket's queue when the guard is armed", Start::Learned, |it| {
        in_flight(it, "in-flight")
    }),
    ("siege: /dev/mem in an io_uring when the guard is armed", Start::Learned, |it| {
        in_flight(it, "in-flight-ring")
    }),
];

/// The I/O APIC and the HPET of every PC (`struct resource` of arch/x86/kernel/apic/io_apic.c and
/// hpet.c).
const IO_APIC: u64 = 0xfec0_0000;
const HPET: u64 = 0xfed0_0000;

/// Check that no device can be written: interrupt controllers, clocks, PCI configuration space, and
/// a device's own registers.
fn devices(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let address = |line: &str| -> Result<u64> {
            let text = stage.shell(line)?.text();
            u64::from_str_radix(text.trim(), 16).with_context(|| format!("{line}: {text}"))
        };
        // "MMCONFIG" until 6.8.
        let configuration =
            address("sed -nE 's/^ *([0-9a-f]+)-.*PCI (MMCONFIG|ECAM).*/\\1/p' /proc/iomem")?;
        let registers = address(
            "sed -nE 's/^0x0*([0-9a-f]{8}) .*200$/\\1/p' \
             /sys/bus/pci/devices/0000:00:1f.2/resource",
        )?;
        denied(stage, &["mmap", "mprotect", "write"], &[IO_APIC, HPET, configuration, registers])
    })
}

/// Check that a range which the configuration names stays writable, and that nothing beside it is.
/// First, more threads than the guard has places for try a write that the kernel itself refuses.
fn named(stage: &Stage) -> Result<()> {
    let range = "[guard]\ndev_mem_writable = [\"0x20003000..0x20004000\"]";
    configured(stage, range, || {
        let beyond = stage.attack("beyond", UNOWNED_MEMORY, &["--count", "5000"])?;
        ensure!(beyond.result == "ok", "beyond all addresses: {}", beyond.result);
        for path in ["write", "mmap", "mprotect"] {
            let value = stage.byte(UNOWNED_MEMORY)? ^ 0xff;
            let attack =
                stage.attack(path, UNOWNED_MEMORY, &["--value", &format!("{value:#x}")])?;
            ensure!(attack.result == "ok", "{path}: {}", attack.result);
            ensure!(stage.byte(UNOWNED_MEMORY)? == value, "{path} wrote nothing");
        }
        denied(stage, &["write", "mmap"], &[UNOWNED_MEMORY - 1, UNOWNED_MEMORY + 0x1000, IO_APIC])
    })
}

/// Checks that each way to write there is refused, reported with its path, and changes nothing.
fn denied(stage: &Stage, paths: &[&'static str], places: &[u64]) -> Result<()> {
    let (mark, mut attacks, mut others) = (stage.mark()?, Vec::new(), Vec::new());
    for (at, path) in places.iter().flat_map(|at| paths.iter().map(move |path| (at, *path))) {
        let attack = stage.attack_unchanged(path, *at, &[])?;
        match attack.result.as_str() {
            "EPERM" => attacks.push((path, attack)),
            other => others.push(format!("{path} at {at:#x}: {other}")),
        }
    }
    ensure!(others.is_empty(), "{}", others.join(", "));
    for (path, attack) in attacks {
        let reported = stage.wait_for(mark, path, |it| it.field("WATCHDOG_PID") == attack.pid)?;
        ensure!(
            reported.is("write-denied") && reported.field("WATCHDOG_PATH") == path,
            "{reported:?}"
        );
    }
    Ok(())
}

/// Check that under `strict` a process cannot write `/dev/mem` that it opened before the guard was
/// armed. At that moment, no process has the file in its table. The attempt must be reported.
fn in_flight(stage: &Stage, path: &str) -> Result<()> {
    stage.shell("rm -f /tmp/go")?;
    let (mark, before) = (stage.mark()?, stage.byte(UNOWNED_MEMORY)?);
    let attacker = begin(stage, "attack", path, UNOWNED_MEMORY, "")?;
    stage.shell("until grep -q 'in flight' /tmp/begun; do sleep 0.05; done")?;
    configured(stage, STRICT, || {
        // Wait for the end of the attacker: if it is killed, it prints nothing more.
        stage.shell(&format!(
            "touch /tmp/go; while kill -0 {attacker} 2>/dev/null; do sleep 0.05; done"
        ))?;
        let said = stage.shell("cat /tmp/begun")?.text();
        ensure!(said.contains("EPERM"), "{path}: {said}");
        ensure!(stage.byte(UNOWNED_MEMORY)? == before, "it was written");
        let by_it = |it: &crate::cases::Entry| it.field("WATCHDOG_PID") == attacker;
        stage.wait_for(mark, "the attempt", by_it).map(drop)
    })
}
