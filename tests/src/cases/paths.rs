//! The guard beyond `/dev/mem`: the cases take each path on a guarded machine, once to another
//! node's memory and once beside it.

use anyhow::{Result, bail, ensure};

use super::drivers::with_module;
use super::guard::{UNOWNED_MEMORY, VIA, configured};
use super::journal::Entry;
use super::snapshots::{MIXED, STRICT};
use super::{Attack, List, Stage, Start, hardware};
use crate::attack_module::{DEVICE, HOTPLUG_SIZE, Kind};
use crate::layout;

pub(super) const CASES: List = &[
    ("paths: strict closes modules, kexec and /dev/mem, and nothing else", Start::Strict, strict),
    ("paths: observe reports everything and stops nothing", Start::Learned, observe),
    ("paths: a kexec over a node is denied, another is not", Start::Learned, kexec_is_judged),
    (
        "paths: a driver maps frames of a node, and the process is killed",
        Start::Standard,
        frames_kill,
    ),
    (
        "paths: a module that maps a node's memory for itself is seen",
        Start::Standard,
        ioremap_is_seen,
    ),
    (
        "paths: ports, PCI registers and module parameters are denied",
        Start::Standard,
        hardware_is_denied,
    ),
    ("paths: kernel.ftrace_enabled cannot be set to 0", Start::Standard, ftrace_stays),
    ("paths: memory of a node that becomes this node's is seen", Start::Learned, hotplug_is_seen),
];

/// Waits for the guard's event about a path.
pub(super) fn reported(stage: &Stage, mark: usize, path: &str, action: &str) -> Result<Entry> {
    stage.wait_for(mark, path, |entry| {
        entry.field("WATCHDOG_PATH") == path && entry.field("WATCHDOG_ACTION") == action
    })
}

/// Checks that there is no event about a path.
pub(super) fn not_reported(stage: &Stage, mark: usize, path: &str) -> Result<()> {
    let entries = stage.alerts(mark)?;
    ensure!(entries.iter().all(|entry| entry.field("WATCHDOG_PATH") != path), "{entries:#?}");
    Ok(())
}

/// Check that a process is killed before it writes when a driver maps a node's page into it, at
/// once or on access. The same driver may map other memory.
fn frames_kill(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let target = stage.machine().truth(2)?.text_phys_start + 0x2000;
        for (kind, path) in [(Kind::Remap, "frames"), (Kind::Fault, "fault")] {
            let before = stage.byte(target)?;
            let value = format!("{:#x}", before ^ 0xff);
            let options = ["--device", DEVICE, "--value", &value];
            let mark = stage.mark()?;
            with_module(stage, kind, target, || {
                let attack = stage.attack("device-mmap", target, &options)?;
                ensure!(attack.result == "SIGKILL", "{path}: {}", attack.result);
                ensure!(stage.byte(target)? == before, "{path} changed the text");
                let entry = reported(stage, mark, path, "killed")?;
                ensure!(entry.is("write-killed"), "{entry:?}");
                ensure!(entry.field("WATCHDOG_NODE") == "service-2", "{entry:?}");
                ensure!(entry.field("WATCHDOG_PID") == attack.pid, "{entry:?}");
                ensure!(entry.field("WATCHDOG_PHYS") == format!("{target:#x}"), "{entry:?}");
                Ok(())
            })?;
            let mark = stage.mark()?;
            with_module(stage, kind, UNOWNED_MEMORY, || {
                let value = stage.byte(UNOWNED_MEMORY)? ^ 0xff;
                let options = ["--device", DEVICE, "--value", &format!("{value:#x}")];
                let attack = stage.attack("device-mmap", UNOWNED_MEMORY, &options)?;
                ensure!(attack.result == "ok", "{path} elsewhere: {}", attack.result);
                ensure!(stage.byte(UNOWNED_MEMORY)? == value, "{path} elsewhere wrote nothing");
                Ok(())
            })?;
            not_reported(stage, mark, path)?;
        }
        Ok(())
    })
}

/// Check that a module that maps a node's memory by ioremap or memremap is reported. A module that
/// maps other memory must not be, nor a plain read of the node's memory.
fn ioremap_is_seen(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let target = stage.machine().truth(1)?.text_phys_start + 0x3000;
        let kinds: [fn(u8) -> Kind; 2] = [Kind::Ioremap, Kind::Memremap];
        for kind in kinds {
            let mark = stage.mark()?;
            let other = kind(stage.byte(UNOWNED_MEMORY)?);
            with_module(stage, other, UNOWNED_MEMORY, || Ok(()))?;
            let read = stage.attack("read", target, &[])?;
            ensure!(read.result == "ok", "{}", read.result);
            not_reported(stage, mark, "ioremap")?;
            // The module writes the byte that is there, so the text stays as it is. The kernel
            // itself may refuse: x86 does not map a page as device registers that the watchdog has
            // mapped as memory.
            let loaded = with_module(stage, kind(stage.byte(target)?), target, || Ok(()));
            if let Err(refusal) = loaded {
                ensure!(format!("{refusal:#}").contains("Cannot allocate memory"), "{refusal:#}");
            }
            let entry = reported(stage, mark, "ioremap", "observed")?;
            ensure!(entry.is("write-observed"), "{entry:?}");
            ensure!(entry.field("WATCHDOG_NODE") == "service-1", "{entry:?}");
            ensure!(entry.field("WATCHDOG_COMM") == "insmod", "{entry:?}");
        }
        Ok(())
    })
}

/// Check that memory of a node that is added to node 0 is reported, at priority 2 once it is System
/// RAM of node 0. As long as it is, a guard over it must be refused. The end must be reported.
fn hotplug_is_seen(stage: &Stage) -> Result<()> {
    let (main, block) = (layout::main_range(1), layout::main_range(0).start);
    let ranges = [(main.start, main.end), (block, block + HOTPLUG_SIZE)]
        .map(|(start, end)| format!("\"{start:#x}..{end:#x}\""));
    let node = format!("[[node]]\nname = \"service-1\"\nranges = [{}]\n", ranges.join(", "));
    const AUTO_ONLINE: &str = "/sys/devices/system/memory/auto_online_blocks";
    stage.configured(&node, || {
        let as_before = stage.shell(&format!("cat {AUTO_ONLINE}; echo offline >{AUTO_ONLINE}"))?;
        let mark = stage.mark()?;
        let added = with_module(stage, Kind::Hotplug, block, || {
            let entry = stage.wait_for(mark, "it is RAM", |entry| {
                entry.is("guard-tampered") && entry.field("MESSAGE").contains("is System RAM")
            })?;
            ensure!(entry.field("PRIORITY") == "2", "{entry:?}");
            ensure!(entry.field("WATCHDOG_PHYS") == format!("{block:#x}"), "{entry:?}");
            let end = block + HOTPLUG_SIZE;
            let other = format!("watchdog run --node {:#x}..{:#x}", end - 0x1000, end + 0x1000);
            let refused = stage.machine().node0().shell(&other)?;
            let is_refused = refused.to_string().contains("is System RAM of this kernel");
            ensure!(refused.status == 2 && is_refused, "{refused}");
            // It is reported once, however many periods it stays.
            std::thread::sleep(std::time::Duration::from_secs(3));
            let entries = stage.entries(mark)?;
            let worst = entries.iter().filter(|entry| entry.is("guard-tampered"));
            ensure!(worst.count() == 1, "{entries:#?}");
            Ok(())
        });
        stage.shell(&format!("echo {} >{AUTO_ONLINE}", as_before.text().trim()))?;
        added?;
        let entry = reported(stage, mark, "hotplug", "observed")?;
        ensure!(entry.field("WATCHDOG_NODE") == "service-1", "{entry:?}");
        ensure!(entry.field("WATCHDOG_LENGTH") == HOTPLUG_SIZE.to_string(), "{entry:?}");
        stage.wait_for(mark, "it is over", |entry| {
            entry.is("guard-armed")
                && entry
                    .field("MESSAGE")
                    .contains("Node 0's kernel no longer uses memory of other nodes")
        })?;
        Ok(())
    })
}

/// Check that access to hardware around the kernel is denied with its reason, by each way that the
/// machine has. Without a guard, all of it works.
fn hardware_is_denied(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let mark = stage.mark()?;
        ensure!(!hardware::pci(stage)?, "PCI configuration space was written");
        let entry = reported(stage, mark, "pci", "denied")?;
        ensure!(entry.field("MESSAGE").contains("(pci-access)"), "{entry:?}");
        let mark = stage.mark()?;
        ensure!(!hardware::port(stage)?, "a port was written");
        reported(stage, mark, "pci", "denied")?;
        let attack = stage.attack("ioperm", 0x80, &[])?;
        ensure!(attack.result == "EPERM", "ioperm: {}", attack.result);
        let entry = reported(stage, mark, "lockdown", "denied")?;
        ensure!(entry.field("MESSAGE").contains("(ioport)"), "{entry:?}");
        ensure!(entry.field("WATCHDOG_PID") == attack.pid, "{entry:?}");
        ensure!(!hardware::parameters(stage)?, "a module took an address");
        reported(stage, mark, "module-parameters", "denied").map(drop)
    })
}

/// Check that kexec_load of a segment in a node's memory is denied, and of one beside it is not. A
/// table of segments that cannot be read must be denied. The policy also reports every kexec.
fn kexec_is_judged(stage: &Stage) -> Result<()> {
    stage.preempt()?;
    configured(stage, MIXED, || {
        let mark = stage.mark()?;
        let beside = stage.attack("kexec", UNOWNED_MEMORY, &[])?;
        ensure!(beside.result == "ok", "beside a node: {}", beside.result);
        reported(stage, mark, "kexec", "observed")?;
        not_reported(stage, mark, "kexec-segments")?;
        let target = stage.machine().truth(1)?.text_phys_start;
        let attack = stage.attack("kexec", target, &[])?;
        ensure!(attack.result == "EPERM", "{}", attack.result);
        let entry = reported(stage, mark, "kexec-segments", "denied")?;
        ensure!(entry.field("WATCHDOG_NODE") == "service-1", "{entry:?}");
        ensure!(entry.field("WATCHDOG_PHYS") == format!("{target:#x}"), "{entry:?}");
        let hidden = stage.attack("kexec-unreadable", UNOWNED_MEMORY, &[])?;
        ensure!(hidden.result == "EPERM", "unreadable: {}", hidden.result);
        kexec_changed_in_flight(stage, target)
    })
}

/// Checks that a process is killed when its other thread moves a segment into a node between the
/// verdict and the copy. No kexec image may be loaded.
fn kexec_changed_in_flight(stage: &Stage, target: u64) -> Result<()> {
    let mark = stage.mark()?;
    // The two addresses differ in one byte: the kernel copies byte by byte, and may mix them.
    let via = format!("{:#x}", UNOWNED_MEMORY & !0xff_ffff | target & 0xff_ffff);
    let attack = stage.attack("kexec-race", target, &["--via", &via, "--seconds", "30"])?;
    ensure!(attack.result == "SIGKILL", "in flight: {}", attack.result);
    let killed = reported(stage, mark, "kexec-segments", "killed")?;
    ensure!(killed.field("WATCHDOG_PID") == attack.pid, "{killed:?}");
    ensure!(killed.field("WATCHDOG_PHYS") == format!("{:#x}", target & !0xfff), "{killed:?}");
    let loaded = stage.shell("cat /sys/kernel/kexec_loaded")?.text();
    ensure!(loaded.trim() == "0", "a kexec image is loaded: {loaded}");
    Ok(())
}

/// Check that root cannot switch the guard's programs off, and that the attempt is reported at
/// priority 2. Other settings must stay writable.
fn ftrace_stays(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let mark = stage.mark()?;
        let set = stage.machine().node0().shell("echo 0 >/proc/sys/kernel/ftrace_enabled")?;
        ensure!(!set.success(), "it was set");
        let value = stage.shell("cat /proc/sys/kernel/ftrace_enabled")?.text();
        ensure!(value.trim() == "1", "it is {value}");
        let entry = reported(stage, mark, "ftrace-enabled", "denied")?;
        ensure!(entry.is("guard-tampered") && entry.field("PRIORITY") == "2", "{entry:?}");
        stage.shell("sysctl -q kernel.panic=0")?;
        let target = stage.machine().truth(1)?.text_phys_start;
        let write = stage.attack("pwrite", target, &[])?;
        ensure!(write.result == "EPERM", "{}", write.result);
        Ok(())
    })
}

/// Check that the strict preset denies what it lists. Transient services, the journal, systemd and
/// dpkg must keep working.
fn strict(stage: &Stage) -> Result<()> {
    configured(stage, STRICT, || {
        let mark = stage.mark()?;
        let open = stage.attack("open", UNOWNED_MEMORY, &[])?;
        ensure!(open.result == "EPERM", "open: {}", open.result);
        reported(stage, mark, "open", "denied")?;
        let module = with_module(stage, Kind::Remap, UNOWNED_MEMORY, || Ok(()));
        ensure!(module.is_err(), "a module was loaded");
        reported(stage, mark, "module", "denied")?;
        let kexec = stage.attack("kexec", UNOWNED_MEMORY, &[])?;
        ensure!(kexec.result == "EPERM", "kexec: {}", kexec.result);
        reported(stage, mark, "kexec", "denied")?;
        stage.shell(
            "systemd-run --wait --quiet --collect /bin/true
             logger strict-goes-on; journalctl --sync; journalctl -q | grep -q strict-goes-on
             systemctl daemon-reload
             systemctl restart systemd-journald
             dpkg --audit
             test -z \"$(systemctl --failed --quiet --no-legend)\"",
        )?;
        Ok(())
    })
}

/// Check that the observe preset lets a write through, and that the event names the process. A
/// single path may still have the policy `kill`.
fn observe(stage: &Stage) -> Result<()> {
    const POLICY: &str =
        "[guard]\npreset = \"observe\"\n[guard.paths]\nremap-file-pages = \"kill\"";
    configured(stage, POLICY, || {
        let target = stage.machine().truth(1)?.text_phys_start;
        for (attack, path) in [("pwrite", "write"), ("mmap", "mmap"), ("mprotect", "mprotect")] {
            let (attack, entry) = seen_where(stage, attack, path, target)?;
            ensure!(entry.is("write-observed"), "{entry:?}");
            ensure!(entry.field("WATCHDOG_PID") == attack.pid, "{entry:?}");
            ensure!(entry.field("WATCHDOG_NODE") == "service-1", "{entry:?}");
            let parent = entry.field("WATCHDOG_PARENT_COMM");
            ensure!(parent == "node-agent", "its parent is {parent}");
        }
        changed_by_this_node(stage)?;
        let mark = stage.mark()?;
        let killed = stage.attack_unchanged("remap-file-pages", target, &VIA)?;
        ensure!(killed.result == "SIGKILL", "remap-file-pages: {}", killed.result);
        let entry = reported(stage, mark, "remap-file-pages", "killed")?;
        ensure!(entry.is("write-killed"), "{entry:?}");
        ensure!(entry.field("WATCHDOG_PID") == killed.pid, "{entry:?}");
        Ok(())
    })
}

/// Writes the byte that is there, by an observed path, until the guard has seen the address. The
/// address of a write is unknown if the thread loses its processor between the program that reads
/// the address and the one that judges. Other policies refuse such a write, so that the process
/// tries again; `observe` cannot.
fn seen_where(stage: &Stage, attack: &str, path: &str, at: u64) -> Result<(Attack, Entry)> {
    const TRIES: usize = 4;
    for _ in 0..TRIES {
        let mark = stage.mark()?;
        let attack = stage.attack(attack, at, &[])?;
        ensure!(attack.result == "ok", "{path}: {}", attack.result);
        let entry = reported(stage, mark, path, "observed")?;
        if !entry.field("WATCHDOG_PHYS").is_empty() {
            return Ok((attack, entry));
        }
        stage.note(&format!("a place that was not seen: {}", entry.field("MESSAGE")));
    }
    bail!("{path}: no place was seen in {TRIES} tries")
}

/// Checks that a change of text by node 0 is reported with the process that may have caused it.
fn changed_by_this_node(stage: &Stage) -> Result<()> {
    let (at, mark) = (stage.machine().truth(1)?.text_phys_start + 0x1234, stage.mark()?);
    let before = stage.byte(at)?;
    let by = stage.attack("pwrite", at, &["--value", &format!("{:#x}", before ^ 1)])?;
    ensure!(by.result == "ok" && stage.byte(at)? == before ^ 1, "{by:?}");
    let tampered = stage.wait_for(mark, "text-tampered", |it| it.is("text-tampered"));
    stage.poke(at, before)?;
    let tampered = tampered?;
    let who = format!("the guard did not stop process {} (attack)", by.pid);
    ensure!(tampered.field("MESSAGE").contains("Possibly caused by node 0"), "{tampered:?}");
    ensure!(tampered.field("MESSAGE").contains(&who), "{tampered:?} says nothing of {who}");
    stage.wait_for(mark, "text-clean", |it| it.is("text-clean")).map(drop)
}
