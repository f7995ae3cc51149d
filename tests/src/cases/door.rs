//! A node 0 on which `bpf` is not an active LSM, and on which part of the reserved memory is
//! persistent memory.

use anyhow::{Result, ensure};

use super::guard::UNOWNED_MEMORY;
use super::paths::reported;
use super::{Stage, hardware};
use crate::layout;

/// Node 0's command line for such a machine.
pub const COMMAND_LINE: &str = "lsm=lockdown,yama memmap=0x1000000!0x30000000";
const PERSISTENT: &str = "0x30000000..0x31000000";

/// Checks that a guard over persistent memory is refused, and that any guard is refused without
/// `--degraded`. With it, `/dev/mem` cannot be opened for writing under any name, nor `/dev/port`,
/// and each attempt is reported. Reading must work. The coverage must say what is denied, and what
/// is not covered. The guard must stay until it is disarmed. The log of `-v` must say which program
/// is attached where, and why a path is uncovered.
///
/// # Errors
/// When a check fails.
pub fn denied_at_the_door(stage: &Stage) -> Result<()> {
    let node0 = stage.machine().node0();
    let main = layout::main_range(1);
    let node = format!("--node service-1={:#x}..{:#x}", main.start, main.end);
    let refusals = [
        (format!("run --degraded --node {PERSISTENT}"), "is persistent memory to this kernel"),
        (format!("run {node}"), "`bpf` is not among the active LSMs ("),
    ];
    for (arguments, sentence) in refusals {
        let output = node0.shell(&format!("watchdog {arguments}"))?;
        ensure!(output.status == 2 && output.to_string().contains(sentence), "{output}");
    }
    ensure!(hardware::port(stage)?, "a port cannot be written without a guard");
    let mark = stage.mark()?;
    stage.shell(&format!(
        "setsid watchdog run -v --degraded {node} >/run/degraded.log 2>&1 </dev/null &
         echo $! >/run/degraded.pid"
    ))?;
    let entry = stage.wait_for(mark, "the guard's coverage", |it| it.is("guard-degraded"))?;
    let message = entry.field("MESSAGE");
    for part in ["denied (open by the device program", "Not covered: write: `bpf` is not among"] {
        ensure!(message.contains(part), "not `{part}` in: {message}");
    }
    explained(&stage.shell("cat /run/degraded.log")?.text())?;
    stage.wait_for(mark, "the end of the start", |entry| entry.is("baseline-learned"))?;
    let result = (|| {
        let mark = stage.mark()?;
        let attack = stage.attack("open", UNOWNED_MEMORY, &[])?;
        ensure!(attack.result == "EPERM", "open: {}", attack.result);
        let entry = reported(stage, mark, "open", "denied")?;
        ensure!(entry.is("write-denied"), "{entry:?}");
        ensure!(entry.field("WATCHDOG_PID") == attack.pid, "{entry:?}");
        stage.shell("mknod /tmp/other c 1 1")?;
        let other = stage.attack("open", UNOWNED_MEMORY, &["--device", "/tmp/other"])?;
        stage.shell("rm /tmp/other")?;
        ensure!(other.result == "EPERM", "by another name: {}", other.result);
        stage.wait_for(mark, "the other name", |it| it.field("WATCHDOG_PID") == other.pid)?;
        ensure!(!hardware::port(stage)?, "a port was written");
        reported(stage, mark, "pci", "denied")?;
        for harmless in ["read", "mmap-read"] {
            let read = stage.attack(harmless, main.start, &[])?;
            ensure!(read.result == "ok", "{harmless}: {}", read.result);
        }
        std::thread::sleep(std::time::Duration::from_secs(3));
        let entries = stage.entries(mark)?;
        ensure!(entries.iter().all(|it| it.is("write-denied")), "{entries:#?}");
        // Only `open` is counted: dd(1) tries to open `/dev/port` twice.
        let opens = entries.iter().filter(|entry| entry.field("WATCHDOG_PATH") == "open");
        ensure!(opens.count() == 2, "{entries:#?}");
        Ok(())
    })();
    stage.shell("kill $(cat /run/degraded.pid); while pidof watchdog; do sleep 0.1; done")?;
    result?;
    let open = stage.attack("open", UNOWNED_MEMORY, &[])?;
    ensure!(open.result == "EPERM", "open after the watchdog has ended: {}", open.result);
    let disarmed = stage.on_console("watchdog guard disarm")?;
    ensure!(disarmed.success(), "{disarmed}");
    let open = stage.attack("open", UNOWNED_MEMORY, &[])?;
    ensure!(open.result == "ok", "open after the guard was taken down: {}", open.result);
    Ok(())
}

/// Checks that the log has each decision about the guard that was armed.
fn explained(log: &str) -> Result<()> {
    for decision in [
        "program device: attached, to opens of devices, in the root control group",
        "program frames: attached, to the entry of remap_pfn_range",
        "program file_open: not attached: no LSM program fires on this kernel",
        "path write: uncovered, this kernel has no hook for it: `bpf` is not among the active LSMs",
        "path write: uncovered, not seen by the self-test: `bpf` is not among the active LSMs",
    ] {
        let is_there = log.lines().any(|line| line.contains(decision));
        ensure!(is_there, "the log does not say `{decision}`: {log}");
    }
    Ok(())
}
