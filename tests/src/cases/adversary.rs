//! What a node's own root, or a device, does to mislead the watchdog about where a kernel is. The
//! watchdog runs on the host, over the machine's live memory.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::discovery::json_lines;
use super::{List, Stage, Start};
use crate::cache;
use crate::host_watch::HostWatch;
use crate::layout;
use crate::node_kernel::{LARGE, NO_EXECUTE, NodeKernel, PAGE, UNOWNED_MEMORY, USER, WRITABLE};
use crate::truth::Truth;

pub(super) const CASES: List = &[
    ("locate: a decoy is distinguished from the living kernel", Start::Ready, decoy),
    ("locate: mappings that are alarms by themselves", Start::Ready, mappings),
    ("run: what is planted later moves nothing and is alerted", Start::Ready, planted_later),
    ("run: changed page tables, symbol table and crash note are alerted", Start::Ready, redirected),
    (
        "run: a rebooted node is noticed, though its old kernel is still in memory",
        Start::Ready,
        rebooted,
    ),
    ("run: a node that boots is booting, and lost when it takes too long", Start::Ready, booting),
];

/// Node 1, with the reserved memory below it that belongs to no node. Things can be planted there
/// without harm to a node.
const NODE: &str = "service-1=0x20000000..0x50000000";
const CONFIGURATION: &str =
    "[[node]]\nname = \"service-1\"\nranges = [\"0x20000000..0x50000000\"]\n";
const PERIOD: Duration = Duration::from_secs(1);

/// The report of `watchdog locate` on the host about node 1, and its exit status.
fn locate(memory: &str) -> Result<(Value, Option<i32>)> {
    let output = Command::new(cache::guest_programs().join("watchdog"))
        .args(["locate", "--json", "--memory", memory, "--node", NODE])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let report = json_lines(&text)?.into_iter().next();
    Ok((report.with_context(|| format!("no report: {errors}"))?, output.status.code()))
}

fn live(stage: &Stage) -> String {
    format!("raw:{}", stage.machine().ram().path().display())
}

/// Check that `locate` finds the living kernel beside a whole copy of it, and reports the copy as a
/// stray. In memory at rest, neither shows a sign of life, and `locate` must choose none.
fn decoy(stage: &Stage) -> Result<()> {
    let node = NodeKernel::of(stage.machine(), 1)?;
    node.plant_decoy(UNOWNED_MEMORY)?;
    let text = format!("{:#x}", node.truth.text_phys_start);
    let result = (|| {
        let (report, status) = locate(&live(stage))?;
        ensure!(status == Some(0) && report["state"] == "located", "{report}");
        ensure!(report["text"]["phys"] == text.as_str(), "{report}");
        let stray = &report["strays"][0];
        ensure!(stray["state"] == "located", "the copy is not whole: {report}");
        ensure!(stray["phys"] == format!("{UNOWNED_MEMORY:#x}"), "{report}");
        stage.machine().pause()?;
        let at_rest = locate(&live(stage));
        stage.machine().resume()?;
        let (report, status) = at_rest?;
        ensure!(status == Some(2) && report["state"] == "lost", "{report}");
        let reason = report["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("none of them shows a sign of life"), "{report}");
        Ok(())
    })();
    node.clear_decoy(UNOWNED_MEMORY)?;
    result
}

/// Bits of page-table entries, by physical address, that open the text, and the expected finding.
struct Opening {
    bits: Vec<(u64, u64)>,
    finding: &'static str,
}

/// Check that each way to open the text's frames is a finding with exit status 1. They are:
/// writable in the image mapping and in the direct map, open to user mode, executable beyond the
/// text.
fn mappings(stage: &Stage) -> Result<()> {
    let node = NodeKernel::of(stage.machine(), 1)?;
    let Truth { text_phys_start, text_phys_end, stext_virt, .. } = node.truth;
    let last = |entries: Vec<u64>| entries.last().copied().context("no entry");
    let image = node.entries(stext_virt)?;
    let leaf = last(image.clone())?;
    // The large page after the text's own: read-only data.
    let beyond = stext_virt + (text_phys_end - text_phys_start + 1).next_multiple_of(2 << 20);
    let beyond = last(node.entries(beyond)?)?;
    let direct = last(node.entries(node.direct_map(text_phys_start)?)?)?;
    let user = image.iter().map(|at| (*at, USER)).collect();
    let openings = [
        Opening { bits: vec![(leaf, WRITABLE)], finding: "of the text are mapped writable" },
        Opening { bits: vec![(direct, WRITABLE)], finding: "of the text are mapped writable" },
        Opening { bits: user, finding: "are open to user mode" },
        Opening { bits: vec![(beyond, NO_EXECUTE)], finding: "outside the text are executable" },
    ];
    // The processors must not run: with such page tables they would fault.
    stage.machine().pause()?;
    let result = openings.into_iter().try_for_each(|Opening { bits, finding }| {
        let mut old = Vec::new();
        for (at, bit) in bits {
            let value = node.word(at)?;
            let open = if bit == NO_EXECUTE { value & !bit } else { value | bit };
            old.push((at, node.set(at, open)?));
        }
        let found = locate(&live(stage));
        for (at, value) in old.into_iter().rev() {
            node.set(at, value)?;
        }
        let (report, status) = found?;
        let said = report["findings"].to_string();
        ensure!(status == Some(1) && said.contains(finding), "{finding}: {status:?}, {report}");
        Ok(())
    });
    stage.machine().resume()?;
    result
}

/// Check that a decoy and a forged crash note that appear while the node is watched are reported.
/// The watched address must stay, and the node must be judged as before.
fn planted_later(stage: &Stage) -> Result<()> {
    let node = NodeKernel::of(stage.machine(), 1)?;
    let watch = HostWatch::start(stage.machine(), CONFIGURATION, &[])?;
    watch.wait(0, "node-found", "")?;
    let mark = watch.mark();
    node.plant_decoy(UNOWNED_MEMORY)?;
    let result = (|| {
        let (alert, took) =
            watch.wait(mark, "stray-kernel", "or parts of one, that the node does not run")?;
        stage.note(&format!("a decoy planted later: alerted after {took:.1?}"));
        ensure!(
            alert["phys"] == format!("{UNOWNED_MEMORY:#x}") && alert["priority"] == 4,
            "{alert}"
        );
        let at = node.truth.text_phys_start + 0x5_4321;
        let before = stage.byte(at)?;
        stage.poke(at, before ^ 1)?;
        let tampered = watch.wait(mark, "text-tampered", "was changed");
        stage.poke(at, before)?;
        ensure!(tampered?.0["phys"] == format!("{at:#x}"));
        watch.wait(mark, "text-clean", "")?;
        Ok(())
    })();
    node.clear_decoy(UNOWNED_MEMORY)?;
    result?;
    let note = node.notes()?.into_iter().next().context("no note")?;
    let mut page = vec![0; PAGE as usize];
    stage.machine().ram().read(note, &mut page)?;
    let text = String::from_utf8_lossy(&page);
    let text = &text[text.find("OSRELEASE=").context("no release")?..];
    let forged = text.replace("NUMBER(phys_base)=", "NUMBER(phys_base)=12345678\nPHYS_BASE=");
    stage.machine().ram().write(UNOWNED_MEMORY, forged.as_bytes())?;
    let alert = watch.wait_for(mark, "a stray note", |event| {
        event["event"] == "stray-kernel" && event["message"].to_string().contains("only vmcoreinfo")
    });
    stage.machine().ram().write(UNOWNED_MEMORY, &vec![0; forged.len()])?;
    alert?;
    let moved = |event: &Value| {
        ["node-lost", "node-rebooted", "node-found"].iter().any(|kind| event["event"] == *kind)
    };
    let events = watch.events(mark);
    ensure!(!events.iter().any(moved), "{events:#?}");
    Ok(())
}

/// Check that a translation that leads to a copy of the text is reported as tampering. The old
/// frames are clean, and the node keeps running. A changed crash note must be reported.
fn redirected(stage: &Stage) -> Result<()> {
    let node = NodeKernel::of(stage.machine(), 1)?;
    let text = node.truth.text_phys_start;
    let leaf = node.entries(node.truth.stext_virt)?.last().copied().context("no entry")?;
    let entry = node.word(leaf)?;
    let size = if entry & LARGE != 0 { 2 << 20 } else { PAGE };
    // The node now runs in the copy. The copy is identical, so the node must not notice.
    let mut copy = vec![0; usize::try_from(size)?];
    stage.machine().ram().read(text, &mut copy)?;
    stage.machine().ram().write(UNOWNED_MEMORY, &copy)?;
    let watch = HostWatch::start(stage.machine(), CONFIGURATION, &[])?;
    watch.wait(0, "node-found", "")?;
    thread::sleep(PERIOD * 2);
    let mark = watch.mark();
    let begun = Instant::now();
    node.set(leaf, entry.wrapping_sub(text).wrapping_add(UNOWNED_MEMORY))?;
    let alert = watch.wait(mark, "text-tampered", "no longer leads to the text");
    node.set(leaf, entry)?;
    let (alert, _) = alert?;
    stage.note(&format!("a redirected translation: alerted after {:.1?}", begun.elapsed()));
    ensure!(alert["priority"] == 2 && alert["verdict"] == "tampered", "{alert}");
    let mark = watch.mark();
    stage.machine().node(1)?.wait_for_ticks()?;

    let release = node.notes()?.into_iter().next().context("no note")?;
    let mut page = vec![0; PAGE as usize];
    stage.machine().ram().read(release, &mut page)?;
    let line = String::from_utf8_lossy(&page).find("SYMBOL(init_top_pgt)=").context("no root")?;
    let at = release + line as u64 + "SYMBOL(init_top_pgt)=fffffff".len() as u64;
    let digit = stage.byte(at)?;
    stage.poke(at, if digit == b'f' { b'e' } else { b'f' })?;
    let alert = watch.wait(mark, "witness-changed", "no longer agree");
    stage.poke(at, digit)?;
    ensure!(alert?.0["priority"] == 4);
    watch.wait(mark, "witness-changed", "agree again")?;
    ensure!(watch.events(mark).iter().all(|event| event["event"] == "witness-changed"));
    Ok(())
}

/// Check that a reboot under KASLR is reported within two periods of the new kernel's start,
/// whatever the old kernel left in memory. The new kernel must be watched.
fn rebooted(stage: &Stage) -> Result<()> {
    // A search of all the node's memory takes long on a busy host.
    const PERIOD: Duration = Duration::from_secs(3);
    let before = stage.machine().truth(1)?;
    let configuration = format!("period = \"{}s\"\n{CONFIGURATION}", PERIOD.as_secs());
    let watch = HostWatch::start(stage.machine(), &configuration, &[])?;
    watch.wait(0, "node-found", "")?;
    thread::sleep(PERIOD * 2);
    let mark = watch.mark();
    stage.machine().start_node(1)?;
    let (up, starved) = (Instant::now(), watch.starved()?);
    let (alert, _) = watch.wait(mark, "node-rebooted", "")?;
    let truth = stage.machine().truth(1)?;
    let place = format!("{:#x}", truth.text_phys_start);
    watch.wait_for(mark, "the new kernel", |event| {
        ["node-rebooted", "node-found"].iter().any(|kind| event["event"] == *kind)
            && event["phys"] == place.as_str()
            && event["virt"] == format!("{:#x}", truth.stext_virt)
    })?;
    let took = up.elapsed().saturating_sub(watch.starved()?.since(&starved));
    stage.note(&format!("a rebooted node: watched {took:.1?} after it was up ({alert})"));
    ensure!(took <= PERIOD * 2, "it took {took:?}");
    ensure!(before != truth, "KASLR chose the same place: run the case again");
    // A change before the baseline is learned would become part of the baseline.
    watch.wait_for(mark, "its baseline", |event| {
        event["event"] == "baseline-learned" && event["phys"] == place.as_str()
    })?;
    let mark = watch.mark();
    let at = truth.text_phys_start + 0x4321;
    let byte = stage.byte(at)?;
    stage.poke(at, byte ^ 1)?;
    let tampered = watch.wait(mark, "text-tampered", "was changed");
    stage.poke(at, byte)?;
    tampered.map(drop)
}

/// Check that a node in the middle of its boot is `booting`, and that the watch begins anyway. The
/// node must be lost when the boot takes longer than configured, and found when it is done.
fn booting(stage: &Stage) -> Result<()> {
    let machine = stage.machine();
    thread::scope(|scope| {
        let started = scope.spawn(|| machine.start_node(1));
        let begun = Instant::now();
        let caught = loop {
            machine.pause()?;
            let (report, status) = locate(&live(stage))?;
            if report["state"] == "booting" {
                break (report, status);
            }
            machine.resume()?;
            ensure!(begun.elapsed() < Duration::from_secs(300), "never booting: {report}");
            thread::sleep(Duration::from_millis(300));
        };
        let result = (|| {
            ensure!(caught.1 == Some(2), "{caught:?}");
            let configuration = format!("booting = \"2s\"\n{CONFIGURATION}");
            let watch = HostWatch::start(machine, &configuration, &[])?;
            watch.wait(0, "node-found", "is booting")?;
            let (lost, took) = watch.wait(0, "node-lost", "still booting after 2s")?;
            stage.note(&format!("a boot that stands still: lost after {took:.1?}"));
            ensure!(lost["verdict"] == "lost", "{lost}");
            Ok(watch)
        })();
        machine.resume()?;
        let watch = result?;
        started.join().map_err(|_| anyhow::anyhow!("the loader's thread died"))??;
        let place = format!("{:#x}", machine.truth(1)?.text_phys_start);
        watch.wait_for(0, "the booted node", |event| {
            event["event"] == "node-found" && event["phys"] == place.as_str()
        })?;
        ensure!(layout::main_range(1).contains(&machine.truth(1)?.text_phys_start));
        Ok(())
    })
}
