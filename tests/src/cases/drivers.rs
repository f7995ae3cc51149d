//! What drivers can do: a module of node 0's kernel reaches any physical memory, and gives it to
//! programs. All of it works without a guard, which shows that the attacks are real.

use anyhow::{Context, Result, ensure};

use super::{List, Stage, Start, guard};
use crate::attack_module::{self, DEVICE, HOTPLUG_SIZE, Kind, NAME};
use crate::layout;

pub(super) const CASES: List = &[
    ("drivers: a device's mmap that maps at once writes", Start::Ready, remap_writes),
    ("drivers: a device's mmap that maps when accessed writes", Start::Ready, fault_writes),
    ("drivers: ioremap writes", Start::Ready, ioremap_writes),
    ("drivers: memremap writes", Start::Ready, memremap_writes),
    ("drivers: memory is added and taken away", Start::Ready, memory_is_added),
    ("drivers: phram writes through its device", Start::Ready, phram_writes),
];

/// A reserved page that belongs to no node, and that no other case writes.
const TARGET: u64 = guard::UNOWNED_MEMORY + 0x2000;
/// A byte that is not the first one of its page.
const WITHIN: u64 = TARGET + 0x123;
/// Beyond all memory of the machine, but within the 40 address bits of its processors.
const BEYOND: u64 = 0x10_0000_0000;
/// Whether the kernel uses added memory at once. The memory that is added here does not exist.
const AUTO_ONLINE: &str = "/sys/devices/system/memory/auto_online_blocks";

/// Check that a program can write through a mapping that a driver makes in its mmap handler.
fn remap_writes(stage: &Stage) -> Result<()> {
    device_writes(stage, Kind::Remap)
}

/// Check that a program can write through a mapping that a driver makes page by page on access.
fn fault_writes(stage: &Stage) -> Result<()> {
    device_writes(stage, Kind::Fault)
}

fn device_writes(stage: &Stage, kind: Kind) -> Result<()> {
    unharmed(stage, || {
        with_module(stage, kind, TARGET, || {
            let before = stage.byte(WITHIN)?;
            let value = before ^ 0xff;
            let options = ["--device", DEVICE, "--value", &format!("{value:#x}")];
            let attack = stage.attack("device-mmap", WITHIN, &options)?;
            ensure!(attack.result == "ok", "{}", attack.result);
            let after = stage.byte(WITHIN)?;
            ensure!(after == value, "{before:#x} became {after:#x}, not {value:#x}");
            Ok(())
        })?;
        let left = stage.machine().node0().run(["test", "-e", DEVICE])?;
        ensure!(left.status == 1, "the device outlives its module");
        Ok(())
    })
}

/// Check that a module can write memory that it maps as a device's registers.
fn ioremap_writes(stage: &Stage) -> Result<()> {
    module_writes(stage, Kind::Ioremap)
}

/// Check that a module can write memory that it maps as memory.
fn memremap_writes(stage: &Stage) -> Result<()> {
    module_writes(stage, Kind::Memremap)
}

fn module_writes(stage: &Stage, kind: fn(u8) -> Kind) -> Result<()> {
    unharmed(stage, || {
        let before = stage.byte(TARGET)?;
        let value = before ^ 0xff;
        with_module(stage, kind(value), TARGET, || {
            let after = stage.byte(TARGET)?;
            ensure!(after == value, "{before:#x} became {after:#x}, not {value:#x}");
            Ok(())
        })
    })
}

/// Check that a module can add a block of memory to node 0 and remove it again. One block is beyond
/// all memory, and one is in reserved memory.
fn memory_is_added(stage: &Stage) -> Result<()> {
    unharmed(stage, || {
        let as_before = stage.shell(&format!("cat {AUTO_ONLINE}"))?.text();
        stage.shell(&format!("echo offline >{AUTO_ONLINE}"))?;
        let result = [BEYOND, layout::main_range(0).start]
            .into_iter()
            .try_for_each(|at| block_is_added(stage, at).with_context(|| format!("{at:#x}")));
        stage.shell(&format!("echo {} >{AUTO_ONLINE}", as_before.trim()))?;
        result
    })
}

fn block_is_added(stage: &Stage, at: u64) -> Result<()> {
    let range = format!("{at:08x}-{:08x} : System RAM", at + HOTPLUG_SIZE - 1);
    let block = format!("/sys/devices/system/memory/memory{}", at / HOTPLUG_SIZE);
    let is_there = || -> Result<(bool, bool)> {
        let iomem = stage.shell("cat /proc/iomem")?.text();
        let block = stage.machine().node0().run(["test", "-d", &block])?;
        Ok((iomem.lines().any(|line| line.trim().starts_with(&range)), block.success()))
    };
    ensure!(is_there()? == (false, false), "{range} is there already");
    with_module(stage, Kind::Hotplug, at, || {
        let there = is_there()?;
        ensure!(there == (true, true), "{range}: {there:?}, {}", last_words(stage)?);
        let state = stage.shell(&format!("cat {block}/state"))?.text();
        ensure!(state.trim() == "offline", "it is {state}");
        Ok(())
    })?;
    ensure!(is_there()? == (false, false), "{range} is still there");
    Ok(())
}

/// Check that phram, a driver whose parameter can be any address, lets a program write there by
/// write(2).
fn phram_writes(stage: &Stage) -> Result<()> {
    unharmed(stage, || {
        let modules = stage.kernel.modules(["phram"])?;
        ensure!(!modules.is_empty(), "phram is built in");
        let value = stage.byte(TARGET)? ^ 0xff;
        let mut loaded = Vec::new();
        for module in &modules {
            let parameter = match module.name.as_str() {
                "phram" => format!("phram=x,{TARGET:#x},0x1000"),
                _ => String::new(),
            };
            load(stage, &module.name, &module.read()?, &parameter)?;
            loaded.insert(0, module.name.as_str());
        }
        let write = format!(
            "grep '^mtd0:.*\"x\"' /proc/mtd
             printf '\\{value:03o}' | dd of=/dev/mtd0 bs=1 count=1 conv=notrunc status=none"
        );
        let written = stage.shell(&write).or_else(|error| Err(error.context(last_words(stage)?)));
        let result = written.and_then(|_| {
            let after = stage.byte(TARGET)?;
            ensure!(after == value, "{after:#x} is there, not {value:#x}");
            Ok(())
        });
        stage.shell(&format!("rmmod {}", loaded.join(" ")))?;
        result
    })
}

/// Runs a case with the module loaded on node 0. The module is unloaded afterwards, even if the
/// case failed.
///
/// # Errors
/// The error of the case, or when the module cannot be made, loaded or unloaded.
pub fn with_module(
    stage: &Stage,
    kind: Kind,
    at: u64,
    case: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let module = attack_module::module(&stage.kernel, kind, at)?;
    load(stage, NAME, &module, "")?;
    let result = case();
    let unloaded = stage.shell(&format!("rmmod {NAME}"));
    result.and(unloaded.map(drop))
}

/// Loads a module on node 0.
pub(super) fn load(stage: &Stage, name: &str, content: &[u8], parameters: &str) -> Result<()> {
    let path = format!("/run/{name}.ko");
    stage.machine().node0().write(&path, 0o600, content)?;
    let loaded = stage.shell(&format!("insmod {path} {parameters}"));
    stage.shell(&format!("rm {path}"))?;
    loaded.map(drop).with_context(|| format!("{name} is not loaded"))
}

/// The last lines of node 0's kernel log.
fn last_words(stage: &Stage) -> Result<String> {
    Ok(stage.shell("dmesg | tail -n 5")?.text())
}

/// Runs a case. Afterwards, node 0 must have the same modules as before, and its kernel must not
/// have logged a new complaint.
fn unharmed(stage: &Stage, case: impl FnOnce() -> Result<()>) -> Result<()> {
    let modules =
        || -> Result<String> { Ok(stage.shell("cut -d' ' -f1 /proc/modules | sort")?.text()) };
    let complaints = || -> Result<String> {
        let pattern = "WARNING:|BUG:|Oops|Call Trace:|Bad page|soft lockup";
        Ok(stage.shell(&format!("dmesg | grep -E '{pattern}' || true"))?.text())
    };
    let before = (modules()?, complaints()?);
    case()?;
    let after = (modules()?, complaints()?);
    ensure!(after == before, "node 0 was {before:?}, and is {after:?}");
    Ok(())
}
