//! Sweeps: an alert for each change, and silence on a healthy machine.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::discovery::json_lines;
use super::guard::{PERIOD, configured};
use super::stage::UNIT;
use super::{List, Stage, Start, Times};

pub(super) const CASES: List = &[
    ("run: armed, both nodes found, baselines learned, then silence", Start::Ready, silence),
    (
        "run: a byte changed from outside is alerted within two periods",
        Start::Standard,
        flipped_byte,
    ),
    ("scan: judges by the learned baseline", Start::Standard, scan_with_baseline),
];

pub(super) const OF_THE_PROGRAM: List = &[
    ("run: catalog entries explain the journal", Start::Standard, catalog),
    ("run: a start that takes longer than systemd would wait", Start::Learned, slow_start),
    (
        "run: a forged entry of a sorted table is alerted, and the next one in its place",
        Start::Standard,
        forged_entry,
    ),
];

/// Check that the service starts without configuration and reports what it found. It must then
/// report nothing about a healthy machine.
fn silence(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    stage.watched(|| {
        let entries = stage.alerts(mark)?;
        let count = |kind: &str| entries.iter().filter(|entry| entry.is(kind)).count();
        let said = [
            count("started"),
            count("guard-armed"),
            count("node-found"),
            count("baseline-learned"),
            entries.len(),
        ];
        ensure!(said == [1, 1, 2, 2, 6], "{entries:#?}");
        for entry in &entries {
            let kind = entry.field("WATCHDOG_EVENT");
            ensure!(entry.field("MESSAGE_ID").len() == 32, "{kind} has no MESSAGE_ID");
            ensure!(entry.field("SYSLOG_IDENTIFIER") == "watchdog", "{kind}");
        }
        let quiet = stage.mark()?;
        thread::sleep(Times::from_environment()?.soak);
        let entries = stage.alerts(quiet)?;
        ensure!(entries.is_empty(), "a healthy machine was alerted: {entries:#?}");
        Ok(())
    })?;
    ensure!(stage.entries(mark)?.iter().any(|entry| entry.is("stopped")), "no last word");
    Ok(())
}

/// Check that one changed byte of text, in either node, is reported once, within two periods and
/// with all its fields. The return of the old byte must be reported too.
fn flipped_byte(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        for node in [1, 2] {
            let truth = stage.machine().truth(node)?;
            let at = truth.text_phys_start + 0x12_3456 + u64::from(node);
            let before = stage.byte(at)?;
            let mark = stage.mark()?;
            let took = stage.stopwatch()?;
            stage.poke(at, before ^ 0x40)?;
            let alert = stage.wait_for(mark, "text-tampered", |entry| entry.is("text-tampered"))?;
            let took = took(&alert)?;
            let virt = truth.stext_virt + (at - truth.text_phys_start);
            let expected = [
                ("WATCHDOG_NODE", format!("service-{node}")),
                ("WATCHDOG_VERDICT", "tampered".to_owned()),
                ("WATCHDOG_PHYS", format!("{at:#x}")),
                ("WATCHDOG_VIRT", format!("{virt:#x}")),
                ("WATCHDOG_LENGTH", "1".to_owned()),
                ("WATCHDOG_EXPECTED", format!("{before:02x}")),
                ("WATCHDOG_FOUND", format!("{:02x}", before ^ 0x40)),
                ("PRIORITY", "2".to_owned()),
                ("WATCHDOG_SYMBOL", symbol(stage, node, virt)?),
            ];
            for (field, value) in expected {
                ensure!(alert.field(field) == value, "{field} is not {value}: {alert:?}");
            }
            let message = alert.field("MESSAGE");
            let origin = format!(
                "The change came from inside node service-{node}, from another node, from \
                 firmware, or from a device"
            );
            ensure!(message.contains("Not caused by node 0"), "{alert:?}");
            ensure!(message.contains(&origin), "{alert:?}");
            stage.note(&format!(
                "node {node}: alerted {took:.1?} after the change (period {PERIOD:?})"
            ));
            ensure!(took <= PERIOD * 2, "the alert took {took:?}");
            thread::sleep(PERIOD * 3);
            let alerts = stage.alerts(mark)?;
            ensure!(alerts.len() == 1, "one change, {} entries: {alerts:#?}", alerts.len());
            stage.poke(at, before)?;
            stage.wait_for(mark, "text-clean", |entry| entry.is("text-clean"))?;
        }
        Ok(())
    })
}

/// The symbol at an address of a node, by node 0's kallsyms. The node runs the same kernel at
/// another place, because of KASLR.
fn symbol(stage: &Stage, node: u8, virt: u64) -> Result<String> {
    let kallsyms = String::from_utf8(stage.machine().node0().read("/proc/kallsyms")?)?;
    let (here, there) = (stage.machine().truth(0)?, stage.machine().truth(node)?);
    let at = virt - there.stext_virt + here.stext_virt;
    nearest(&kallsyms, at).context("no symbol below the address")
}

/// The first symbol at the greatest address not above `virt`, with the offset.
fn nearest(kallsyms: &str, virt: u64) -> Option<String> {
    let mut best: Option<(u64, &str)> = None;
    for line in kallsyms.lines() {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let name = words.nth(1)?;
        if address <= virt && best.is_none_or(|(have, _)| address > have) {
            best = Some((address, name));
        }
    }
    best.map(|(address, name)| format!("{name}+{:#x}", virt - address))
}

/// Check that `scan` judges by the baseline that `run` learned: clean, then tampered with exit
/// status 1 and the address, then clean again. A damaged baseline must be refused.
fn scan_with_baseline(stage: &Stage) -> Result<()> {
    // A guard in force would protect the baseline from the damage.
    stage.idle()?;
    let scan = || stage.machine().node0().run(["watchdog", "scan", "--json"]);
    let output = scan()?;
    ensure!(output.success(), "{output}");
    for report in json_lines(&output.text())? {
        ensure!(report["verdict"] == "clean" && report["baseline"] == "learned", "{report}");
    }
    let at = stage.machine().truth(2)?.text_phys_end - 1;
    let before = stage.byte(at)?;
    stage.poke(at, before ^ 1)?;
    let output = scan();
    stage.poke(at, before)?;
    let output = output?;
    ensure!(output.status == 1, "{output}");
    let reports = json_lines(&output.text())?;
    ensure!(reports.iter().any(|report| report["verdict"] == "clean"), "{output}");
    let tampered = reports.iter().find(|report| report["verdict"] == "tampered");
    let difference = &tampered.context("nothing tampered")?["differences"][0];
    ensure!(
        difference["phys"] == format!("{at:#x}")
            && difference["judgement"] == "unexplained"
            && difference["expected"] == format!("{before:02x}")
            && difference["found"] == format!("{:02x}", before ^ 1),
        "{difference}"
    );
    let file = "/var/lib/watchdog/baselines/service-1.baseline";
    stage.shell(&format!("cp {file} /tmp/sound; truncate -s -1 {file}"))?;
    let output = scan();
    stage.shell(&format!("mv /tmp/sound {file}"))?;
    let output = output?;
    ensure!(output.status == 2 && output.to_string().contains("not a valid baseline"), "{output}");
    ensure!(scan()?.success());
    Ok(())
}

/// Check that `journalctl -x` explains the entries.
fn catalog(stage: &Stage) -> Result<()> {
    let (mark, at) = (stage.mark()?, stage.machine().truth(1)?.text_phys_start + 0x1234);
    stage.poke(at, stage.byte(at)? ^ 1)?;
    stage.wait_for(mark, "text-tampered", |entry| entry.is("text-tampered"))?;
    let output = stage.shell("journalctl -t watchdog -x --no-pager -n 200")?;
    let text = output.text();
    ensure!(text.contains("Subject: The guard is armed"), "{text}");
    ensure!(text.contains("Subject: A node's kernel text or judged data was changed"), "{text}");
    Ok(())
}

/// Check that systemd waits for a start that takes longer than `TimeoutStartSec`.
fn slow_start(stage: &Stage) -> Result<()> {
    const SECONDS: u64 = 4;
    let drop_in = format!("/run/systemd/system/{UNIT}.d");
    stage.shell(&format!(
        "mkdir -p {drop_in}
         printf '[Service]\\nTimeoutStartSec={SECONDS}s\\n' >{drop_in}/slow.conf
         systemctl daemon-reload"
    ))?;
    let begun = Instant::now();
    configured(stage, "", || {
        let took = begun.elapsed();
        ensure!(took.as_secs() > SECONDS, "it took {took:?}: too short to show anything");
        stage.shell(&format!("systemctl is-active --quiet {UNIT}")).map(drop)
    })
}

/// Check that a forged entry of a table that the kernel sorts at boot is reported with its bytes.
/// If it is forged differently, it must be reported again.
fn forged_entry(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let (here, there) = (stage.machine().truth(0)?, stage.machine().truth(1)?);
        let kallsyms = String::from_utf8(stage.machine().node0().read("/proc/kallsyms")?)?;
        let line = kallsyms.lines().find(|line| line.ends_with(" __start___jump_table"));
        let table = line.and_then(|line| line.split(' ').next()).context("no jump table")?;
        let table = u64::from_str_radix(table, 16)? - here.stext_virt;
        let at = there.text_phys_start + table + 5 * 16;
        let before = stage.byte(at)?;
        for forged in [before ^ 0x10, before ^ 0x20] {
            let mark = stage.mark()?;
            stage.poke(at, forged)?;
            let alert = stage.wait_for(mark, "text-tampered", |entry| entry.is("text-tampered"))?;
            let found = alert.field("WATCHDOG_FOUND");
            ensure!(found.len() == 32 && found.starts_with(&format!("{forged:02x}")), "{alert:?}");
            ensure!(alert.field("WATCHDOG_PHYS") == format!("{at:#x}"), "{alert:?}");
        }
        let mark = stage.mark()?;
        stage.poke(at, before)?;
        stage.wait_for(mark, "text-clean", |entry| entry.is("text-clean")).map(drop)
    })
}
