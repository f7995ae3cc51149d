//! Leases: which process may write a node's memory for some time, and what happens to its access
//! afterwards.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::guard::{TRAMPOLINE, configured};
use super::journal::Entry;
use super::stage::WATCHDOG;
use super::{List, Stage, Start};
use crate::layout;

pub(super) const CASES: List = &[
    (
        "lease: its holder writes that node's memory, no other process does, nothing else",
        Start::Standard,
        only_its_holder,
    ),
    (
        "lease: what its holder has mapped is taken from him when it is over",
        Start::Standard,
        taken_back,
    ),
    ("lease: what is refused", Start::Standard, refused),
    ("lease: a node's own loader starts it anew under the guard", Start::Learned, loaded),
];

/// Copies of programs, on a file system where the kernel knows whether a process may write them.
pub(super) const HOLDER: &str = "/usr/sbin/lease-holder";
pub(super) const LOADER: &str = "/usr/sbin/lease-loader";
/// How long [`start_by_lease`] asks for: far longer than a node takes to boot.
pub const LEASE: &str = "900s";

/// A byte of a node's memory that its kernel does not use: behind the loader's tables.
pub(super) fn spare_byte(node: u8) -> u64 {
    layout::main_range(node).start + 0xf800
}

/// Starts an attacker that runs until it is killed, and returns its process id.
pub(super) fn begin(
    stage: &Stage,
    program: &str,
    path: &str,
    at: u64,
    more: &str,
) -> Result<String> {
    let line = format!(
        "rm -f /tmp/begun; setsid {program} --path {path} --at {at:#x} {more} >/tmp/begun 2>&1 &
         until grep -q pid /tmp/begun; do sleep 0.05; done; cat /tmp/begun"
    );
    let said = stage.shell(&line)?.text();
    let pid = said.lines().find_map(|line| line.split_once(": pid "));
    Ok(pid.with_context(|| format!("no pid: {said}"))?.1.trim().to_owned())
}

/// Waits until a byte has this value.
pub(super) fn wait_for_byte(stage: &Stage, at: u64, value: u8) -> Result<()> {
    let begun = Instant::now();
    while stage.byte(at)? != value {
        ensure!(begun.elapsed() < Duration::from_secs(180), "{at:#x} is never {value:#x}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Checks that no process writes a byte any more: the value that the host puts there stays.
pub(super) fn stays(stage: &Stage, at: u64, value: u8) -> Result<()> {
    stage.poke(at, value)?;
    thread::sleep(Duration::from_millis(300));
    ensure!(stage.byte(at)? == value, "{at:#x} is still written");
    Ok(())
}

/// Whether an event is about access that this process kept from before the guard or from a lease.
pub(super) fn is_held_by(entry: &Entry, pid: &str) -> bool {
    entry.field("WATCHDOG_PATH") == "held" && entry.field("WATCHDOG_PID") == pid
}

pub(super) fn lease(stage: &Stage, options: &str) -> Result<crate::machine::Output> {
    stage.on_console(&format!("{WATCHDOG} guard lease {options}"))
}

/// Takes a lease, which must be granted.
pub(super) fn take(stage: &Stage, node: u8, time: &str, exe: &str) -> Result<()> {
    let output = lease(stage, &format!("--node service-{node} --for {time} --exe {exe}"))?;
    ensure!(output.success(), "no lease: {output}");
    Ok(())
}

/// Waits until a lease is over and the watchdog found the node again. Returns the event of the end.
pub(super) fn over(stage: &Stage, mark: usize, node: u8) -> Result<Entry> {
    let ended = stage.wait_for(mark, "lease-ended", |it| it.is("lease-ended"))?;
    let name = format!("service-{node}");
    stage.wait_for(mark, "the node again", |it| {
        it.is("node-found") && it.field("WATCHDOG_NODE") == name
    })?;
    Ok(ended)
}

/// Starts or restarts a node by its own loader under a lease, and ends the lease. Returns the
/// watchdog's report about the node.
///
/// # Errors
/// When no lease is granted, the node does not start, or the watchdog does not find its kernel.
pub fn start_by_lease(stage: &Stage, node: u8) -> Result<Entry> {
    stage.shell(&format!("install -m 755 /host/node-loader {LOADER}"))?;
    let mark = stage.mark()?;
    take(stage, node, LEASE, LOADER)?;
    stage.machine().start_node_by(LOADER, node)?;
    ensure!(lease(stage, "--end")?.success(), "it did not end");
    let place = format!("{:#x}", stage.machine().truth(node)?.text_phys_start);
    let name = format!("service-{node}");
    let found = stage.wait_for(mark, "the node's kernel", |it| {
        (it.is("node-rebooted") || it.is("node-found"))
            && it.field("WATCHDOG_NODE") == name
            && it.field("WATCHDOG_PHYS") == place
    })?;
    // A kernel at the same address as the one before keeps that one's baseline.
    if found.is("node-rebooted") {
        learned(stage, mark, node)?;
    }
    Ok(found)
}

/// Waits until the baseline of a node is learned. A change before that becomes part of it.
pub(super) fn learned(stage: &Stage, mark: usize, node: u8) -> Result<Entry> {
    let name = format!("service-{node}");
    stage.wait_for(mark, "its baseline", |it| {
        it.is("baseline-learned") && it.field("WATCHDOG_NODE") == name
    })
}

/// Check that under a lease, only a process that starts the leased executable during the lease may
/// write. It may write by each way, but only that node. Neither the executable nor its process can
/// be changed. The lease must end when its time is over.
fn only_its_holder(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let (at, elsewhere, mark) = (spare_byte(1), spare_byte(2), stage.mark()?);
        let before = stage.byte(at)?;
        let node0 = stage.machine().node0();
        stage.shell(&format!("install -m 755 /host/attack {HOLDER}; rm -f /tmp/go"))?;
        let by_holder = |path: &str, at: u64, value: u8| -> Result<String> {
            let (at, value) = (format!("{at:#x}"), format!("{value:#x}"));
            let output = node0.run([HOLDER, "--path", path, "--at", &at, "--value", &value])?;
            Ok(output.text())
        };
        let denied = by_holder("pwrite", at, before)?;
        ensure!(denied.contains("EPERM"), "without a lease: {denied}");
        let early = begin(stage, HOLDER, "pwrite", at, "--wait /tmp/go")?;

        take(stage, 1, "600s", HOLDER)?;
        let begun = stage.wait_for(mark, "lease-begun", |it| it.is("lease-begun"))?;
        let digest = stage.shell(&format!("sha256sum {HOLDER}"))?.text();
        let digest = digest.split(' ').next().unwrap_or_default();
        ensure!(begun.field("WATCHDOG_NODE") == "service-1", "{begun:?}");
        ensure!(begun.field("MESSAGE").contains(digest), "{begun:?} has no {digest}");
        for (n, path) in ["pwrite", "writev", "io-uring", "mmap", "mprotect"].iter().enumerate() {
            let value = before ^ (1 << n);
            let said = by_holder(path, at, value)?;
            ensure!(said.contains("\"ok\""), "{path} by the holder: {said}");
            ensure!(stage.byte(at)? == value, "{path} by the holder wrote nothing");
        }
        stage.poke(at, before)?;
        for path in ["pwrite", "mmap", "io-uring", "mprotect"] {
            let said = by_holder(path, elsewhere, !before)?;
            ensure!(said.contains("EPERM"), "{path} to another node: {said}");
            let attack = stage.attack_unchanged(path, at, &["--value", "0xee"])?;
            ensure!(attack.result == "EPERM", "{path} by another: {}", attack.result);
        }
        stage.shell("touch /tmp/go; until grep -q result /tmp/begun; do sleep 0.05; done")?;
        let said = stage.shell("cat /tmp/begun")?.text();
        ensure!(said.contains("EPERM"), "{early}, who ran before the lease: {said}");
        for by in ["write", "truncate"] {
            let output = node0.run(["disarm", "--by", by, "--file", HOLDER])?;
            ensure!(output.text().contains("\"EPERM\""), "{by} of the executable: {output}");
        }
        let holder = begin(stage, HOLDER, "hold", at, &format!("--value {before:#x}"))?;
        for by in ["trace", "write-memory", "proc-mem"] {
            let said = node0.run(["disarm", "--by", by, "--pid", &holder])?.text();
            ensure!(said.contains("EPERM") || said.contains("EACCES"), "{by}: {said}");
        }
        stage.shell(&format!("kill -9 {holder}"))?;

        let mark = stage.mark()?;
        ensure!(lease(stage, "--end")?.success(), "it did not end");
        let ended = over(stage, mark, 1)?;
        let count: u64 = ended.field("WATCHDOG_COUNT").parse().unwrap_or_default();
        ensure!(count >= 5, "{ended:?}");
        let denied = by_holder("pwrite", at, !before)?;
        ensure!(denied.contains("EPERM"), "after the lease: {denied}");
        ensure!(stage.byte(at)? == before, "something was written");
        // The executable is no longer protected.
        stage.shell(&format!("install -m 755 /host/attack {HOLDER}"))?;
        // A lease also ends by the kernel's clock.
        let mark = stage.mark()?;
        take(stage, 1, "2s", HOLDER)?;
        thread::sleep(Duration::from_secs(3));
        let denied = by_holder("pwrite", at, !before)?;
        ensure!(denied.contains("EPERM"), "after its time: {denied}");
        over(stage, mark, 1).map(drop)
    })
}

/// Check that a process that still has the memory mapped when its lease ends is killed and
/// reported. The watchdog must then find the node again.
fn taken_back(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let (at, mark) = (spare_byte(2), stage.mark()?);
        let before = stage.byte(at)?;
        let value = before ^ 0x5a;
        stage.shell(&format!("install -m 755 /host/attack {HOLDER}"))?;
        take(stage, 2, "600s", HOLDER)?;
        let holder = begin(stage, HOLDER, "hold", at, &format!("--value {value:#x}"))?;
        wait_for_byte(stage, at, value)?;
        ensure!(lease(stage, "--end")?.success(), "it did not end");
        let killed = stage.wait_for(mark, "held", |it| is_held_by(it, &holder))?;
        ensure!(killed.is("write-killed"), "{killed:?}");
        ensure!(killed.field("WATCHDOG_NODE") == "service-2", "{killed:?}");
        stays(stage, at, before)?;
        let ended = over(stage, mark, 2)?;
        ensure!(ended.field("MESSAGE").contains("kept access"), "{ended:?}");
        Ok(())
    })
}

/// Check that a lease that may not be granted is refused with a message and status 2, and that the
/// refusal changes nothing.
fn refused(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        stage.shell(&format!("install -m 755 /host/attack {HOLDER}"))?;
        let good = format!("--node service-1 --for 30s --exe {HOLDER}");
        let says = |output: crate::machine::Output, why: &str| {
            ensure!(output.status == 2 && output.to_string().contains(why), "{why}: {output}");
            Ok(())
        };
        for (options, why) in [
            (good.replace("service-1", "service-9"), "expected one of service-1, service-2"),
            (good.replace("30s", "2h"), "from 1s to 1h"),
            (good.replace(HOLDER, "/nowhere"), "/nowhere cannot get a lease"),
            (good.replace(HOLDER, "/tmp"), "not a regular file"),
            ("--end".to_owned(), "no lease to end"),
        ] {
            says(lease(stage, &options)?, why)?;
        }
        let node0 = stage.machine().node0();
        let not_on_console = node0.shell(&format!("{WATCHDOG} guard lease {good}"))?;
        says(not_on_console, "from a console")?;
        let copy = stage.on_console(&format!("/host/watchdog guard lease {good}"))?;
        says(copy, "only the executable that armed the guard")?;
        stage.shell(&format!("sleep 60 >>{HOLDER} & echo $! >/tmp/writer"))?;
        let written = lease(stage, &good);
        stage.shell("kill $(cat /tmp/writer)")?;
        says(written?, "open for writing")?;
        take(stage, 1, "600s", HOLDER)?;
        says(lease(stage, &good)?, "a lease is already in force, for node service-1")?;
        let mark = stage.mark()?;
        ensure!(lease(stage, "--end")?.success(), "it did not end");
        over(stage, mark, 1).map(drop)
    })
}

/// Check that the loader of this machine's nodes can restart a node under a lease, and not without
/// one. The node must not be judged during the lease. The new kernel must be watched afterwards.
fn loaded(stage: &Stage) -> Result<()> {
    configured(stage, &format!("[guard]\n{TRAMPOLINE}"), || {
        stage.shell(&format!("install -m 755 /host/node-loader {LOADER}"))?;
        let (machine, mark) = (stage.machine(), stage.mark()?);
        let line = format!("{LOADER} stop --node 1");
        let denied = machine.node0().shell(&line)?;
        ensure!(!denied.success(), "without a lease: {denied}");
        let before = machine.truth(1)?;
        let found = start_by_lease(stage, 1)?;
        let truth = machine.truth(1)?;
        ensure!(before == truth || found.is("node-rebooted"), "{found:?}");
        stage.note(&format!("a node started anew under a lease: {found}"));
        let entries = stage.entries(mark)?;
        // Remains of the old kernel may be reported as a stray.
        let is_alarm = |it: &Entry| it.is("text-tampered") || it.is("node-lost");
        ensure!(!entries.iter().any(is_alarm), "{entries:#?}");

        let (mark, at) = (stage.mark()?, truth.text_phys_start + 0x4321);
        let byte = stage.byte(at)?;
        stage.poke(at, byte ^ 1)?;
        let tampered = stage.wait_for(mark, "text-tampered", |it| it.is("text-tampered"));
        stage.poke(at, byte)?;
        let clean = stage.wait_for(mark, "text-clean", |it| it.is("text-clean"));
        tampered.and(clean)?;
        let denied = machine.node0().shell(&line)?;
        ensure!(!denied.success(), "after the lease: {denied}");
        Ok(())
    })
}
