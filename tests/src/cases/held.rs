//! Access of processes and drivers to a node's memory that predates the guard.

use anyhow::{Context, Result, ensure};

use super::drivers::{load, with_module};
use super::guard::{BESIDE, UNOWNED_MEMORY, configured};
use super::journal::Entry;
use super::leases::{
    HOLDER, begin, is_held_by, lease, over, spare_byte, stays, take, wait_for_byte,
};
use super::paths::reported;
use super::stage::WATCHDOG;
use super::{List, Stage, Start};
use crate::attack_module::{DEVICE, Kind};

pub(super) const CASES: List = &[
    (
        "held: a mapping from before the guard is found, a process's and a driver's",
        Start::Learned,
        held_before,
    ),
    (
        "held: what a driver mapped is found, however it is hidden or shared",
        Start::Learned,
        driver_held,
    ),
    (
        "held: /dev/mem open from before the guard, where no process may have it",
        Start::Learned,
        open_before,
    ),
];

/// Check that the guard kills a process that mapped a node's memory writable before the guard was
/// armed, and writes it all the time. The event must have all its fields, and nothing may be
/// written afterwards. A process that mapped memory which the configuration leaves writable must
/// live on. A driver that uses a node's memory must be named, also when it changes the node.
fn held_before(stage: &Stage) -> Result<()> {
    let (at, mark) = (spare_byte(1), stage.mark()?);
    let before = stage.byte(at)?;
    let value = before ^ 0x5a;
    let holder = begin(stage, "attack", "hold", at, &format!("--value {value:#x}"))?;
    wait_for_byte(stage, at, value)?;
    let harmless = begin(stage, "attack", "hold", UNOWNED_MEMORY, "")?;
    let text = stage.machine().truth(2)?.text_phys_start + 0x5000;
    let modules = phram(stage, text)?;
    let result = configured(stage, BESIDE, || {
        let killed = stage.wait_for(mark, "held", |it| is_held_by(it, &holder))?;
        ensure!(killed.is("write-killed") && killed.field("PRIORITY") == "4", "{killed:?}");
        let expected = [
            ("WATCHDOG_NODE", "service-1"),
            ("WATCHDOG_ACTION", "killed"),
            ("WATCHDOG_COMM", "attack"),
            ("WATCHDOG_EXE", "/host/attack"),
            ("WATCHDOG_UID", "0"),
        ];
        for (field, value) in expected {
            ensure!(killed.field(field) == value, "{field} of {killed:?}");
        }
        ensure!(killed.field("WATCHDOG_PHYS") == format!("{:#x}", at & !0xfff), "{killed:?}");
        stays(stage, at, before)?;
        ensure!(!stage.entries(mark)?.iter().any(|it| is_held_by(it, &harmless)), "too many");
        stage.shell(&format!("kill -0 {harmless}; ! kill -0 {holder} 2>/dev/null"))?;
        let status = stage.shell(&format!("{WATCHDOG} guard status"))?.text();
        ensure!(status.contains("held               killed     tested"), "{status}");
        written_by_driver(stage, mark, text)?;
        stage.shell(&format!("rmmod {modules}"))?;
        let over = |it: &Entry| it.field("MESSAGE").contains("No such use remains");
        let over = stage.wait_for(mark, "the end of it", over)?;
        ensure!(over.is("guard-armed") && over.field("MESSAGE").contains("[phram]"), "{over:?}");
        Ok(())
    });
    stage.shell(&format!("rmmod {modules} 2>/dev/null || true"))?;
    stage.shell(&format!("kill -9 {harmless}; kill -9 {holder} 2>/dev/null || true"))?;
    result
}

/// Check that the guard finds a node's memory that a driver mapped into a process before the guard
/// was armed. The mapping has no access rights now, and the main thread of the process is gone. A
/// process that is killed for such a mapping may share its memory with another process. That one
/// must be killed too, before it can write for long.
fn driver_held(stage: &Stage) -> Result<()> {
    let (at, mark) = (spare_byte(1), stage.mark()?);
    let before = stage.byte(at)?;
    let value = before ^ 0x5a;
    let page = at & !0xfff;
    with_module(stage, Kind::Remap, page, || {
        let device = format!("--device {DEVICE} --value {value:#x}");
        let holder = begin(stage, "attack", "device-hide", at, &device)?;
        wait_for_byte(stage, at, value)?;
        let result = configured(stage, "", || {
            let killed = stage.wait_for(mark, "held", |it| is_held_by(it, &holder))?;
            ensure!(killed.is("write-killed"), "{killed:?}");
            ensure!(killed.field("WATCHDOG_PHYS") == format!("{page:#x}"), "{killed:?}");
            ensure!(killed.field("MESSAGE").contains("memory that a driver mapped"), "{killed:?}");
            stage.shell(&format!("! kill -0 {holder} 2>/dev/null"))?;
            stage.poke(at, before)?;
            let (mark, first) =
                (stage.mark()?, begin(stage, "attack", "device-share", at, &device)?);
            let other = stage.shell("sed -n 's/.*shared by //p' /tmp/begun")?.text();
            let is_first = |it: &Entry| it.field("WATCHDOG_PID") == first;
            let killed = stage.wait_for(mark, "the one that mapped it", is_first)?;
            ensure!(
                killed.is("write-killed") && killed.field("WATCHDOG_PATH") == "frames",
                "{killed:?}"
            );
            let killed = stage.wait_for(mark, "the other", |it| is_held_by(it, other.trim()))?;
            ensure!(killed.is("write-killed"), "{killed:?}");
            stays(stage, at, before)
        });
        stage.shell(&format!(
            "kill -9 {holder} $(sed -n 's/.*shared by //p' /tmp/begun) 2>/dev/null || true"
        ))?;
        stage.poke(at, before)?;
        result
    })
}

/// Makes a device, `/dev/mtd0`, of a page of memory, with a module that every distribution has.
/// Returns the names of the modules.
fn phram(stage: &Stage, at: u64) -> Result<String> {
    let modules = stage.kernel.modules(["phram"])?;
    let (last, before) = modules.split_last().context("phram is not a module")?;
    before.iter().try_for_each(|it| load(stage, &it.name, &it.read()?, ""))?;
    load(stage, &last.name, &last.read()?, &format!("phram=page,{at:#x},0x1000"))?;
    // The module loads even if it does not accept its parameter.
    stage.shell("grep -q page /proc/mtd")?;
    let names: Vec<_> = modules.iter().rev().map(|it| it.name.as_str()).collect();
    Ok(names.join(" "))
}

/// Checks that the guard reports a driver that has used a page of node 2's text since before the
/// guard was armed. A change through that driver must be reported as possibly caused by node 0.
fn written_by_driver(stage: &Stage, mark: usize, page: u64) -> Result<()> {
    let used = |it: &Entry| it.field("MESSAGE").contains("[phram]");
    let used = stage.wait_for(mark, "the driver", used)?;
    ensure!(used.is("guard-tampered") && used.field("PRIORITY") == "2", "{used:?}");
    ensure!(used.field("WATCHDOG_PHYS") == format!("{page:#x}"), "{used:?}");
    let (at, mark) = (page + 0x123, stage.mark()?);
    let before = stage.byte(at)?;
    stage.shell(&format!(
        "printf '\\{:03o}' | dd of=/dev/mtd0 bs=1 seek={} conv=notrunc status=none",
        before ^ 1,
        at - page
    ))?;
    ensure!(stage.byte(at)? == before ^ 1, "it was not written");
    let tampered = stage.wait_for(mark, "text-tampered", |it| it.is("text-tampered"));
    stage.poke(at, before)?;
    let tampered = tampered?;
    let origin = "Possibly caused by node 0: before the change, node 0's kernel used memory of \
        the node";
    ensure!(tampered.field("MESSAGE").contains(origin), "{tampered:?}");
    stage.wait_for(mark, "text-clean", |it| it.is("text-clean")).map(drop)
}

/// Check `open = "deny"` for files that were open before the guard was armed. A process with
/// `/dev/mem` open for writing is killed, one with `/dev/mem` open for reading is not. A process
/// with `/dev/port` open cannot write a port.
fn open_before(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    let holder = begin(stage, "attack", "hold-open", UNOWNED_MEMORY, "")?;
    stage.shell(
        "sleep 300 </dev/mem & echo $! >/tmp/reader
         rm -f /tmp/go /tmp/port
         setsid sh -c 'exec 9<>/dev/port; touch /tmp/open; until [ -e /tmp/go ]; do sleep 0.05; done
             printf x | dd bs=1 count=1 seek=128 >&9 2>/tmp/said; mv /tmp/said /tmp/port' &
         until [ -e /tmp/open ]; do sleep 0.05; done",
    )?;
    let result = configured(stage, "[guard.paths]\nopen = \"deny\"", || {
        let killed = stage.wait_for(mark, "held", |it| is_held_by(it, &holder))?;
        ensure!(killed.is("write-killed"), "{killed:?}");
        ensure!(killed.field("MESSAGE").contains("/dev/mem open for writing"), "{killed:?}");
        stage.shell(&format!("kill -0 $(cat /tmp/reader); ! kill -0 {holder} 2>/dev/null"))?;
        stage.shell("touch /tmp/go; until [ -e /tmp/port ]; do sleep 0.05; done")?;
        let port = stage.shell("cat /tmp/port")?.text();
        ensure!(port.contains("Operation not permitted"), "a port was written: {port}");
        reported(stage, mark, "pci", "denied")?;
        // The holder of a lease may open `/dev/mem`.
        stage.shell(&format!("install -m 755 /host/attack {HOLDER}"))?;
        take(stage, 1, "600s", HOLDER)?;
        let (at, node0) = (format!("{:#x}", spare_byte(1)), stage.machine().node0());
        let other = stage.attack("open", UNOWNED_MEMORY, &[])?;
        ensure!(other.result == "EPERM", "another opened it: {}", other.result);
        let output = node0.run([HOLDER, "--path", "pwrite", "--at", &at])?;
        ensure!(output.success(), "the lease's holder: {output}");
        let mark = stage.mark()?;
        ensure!(lease(stage, "--end")?.success(), "it did not end");
        over(stage, mark, 1).map(drop)
    });
    stage.shell(&format!("kill $(cat /tmp/reader); kill -9 {holder} 2>/dev/null || true"))?;
    result
}
