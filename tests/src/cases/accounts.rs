//! Every attempt is accounted for, even if there are too many to report one by one, or if no
//! watchdog ran to report them.

use anyhow::{Result, ensure};

use super::drivers::with_module;
use super::guard::configured;
use super::journal::Entry;
use super::leases::begin;
use super::paths::reported;
use super::{List, Stage, Start};
use crate::attack_module::{DEVICE, Kind};

pub(super) const CASES: List = &[
    ("reports: every attempt of a flood is accounted for", Start::Standard, flood),
    (
        "reports: what happened while no watchdog ran is reported by the next one",
        Start::Standard,
        while_nobody_watched,
    ),
];

/// Check that no attempt of a flood succeeds and that all are accounted for: reported one by one,
/// folded into one event, or counted as lost by the buffer.
fn flood(stage: &Stage) -> Result<()> {
    const ATTEMPTS: u64 = 20_000;
    configured(stage, "", || {
        let target = stage.machine().truth(1)?.text_phys_start + 0x1000;
        let (before, mark) = (stage.byte(target)?, stage.mark()?);
        let value = format!("{:#x}", before ^ 0xff);
        let count = ATTEMPTS.to_string();
        // The attacker stays until it is reported: `/proc` has no executable of a process that has
        // ended.
        let more = format!("--value {value} --count {count} --stay /run/reported");
        let pid = begin(stage, "attack", "flood", target, &more)?;
        let reported = stage.wait_for(mark, "its digest", |it| it.field("WATCHDOG_PID") == pid)?;
        let reported = reported.field("WATCHDOG_EXE_SHA256");
        let digest = stage.shell("sha256sum </host/attack")?.text();
        ensure!(digest.starts_with(reported) && reported.len() == 64, "{reported} is not {digest}");
        let ended = "touch /run/reported; until grep result /tmp/begun; do sleep 0.05; done";
        let said = stage.shell(ended)?.text();
        ensure!(said.contains("EPERM"), "{said}");
        ensure!(stage.byte(target)? == before, "a write went through");
        let accounted = || -> Result<(u64, u64, usize)> {
            let entries = stage.entries(mark)?;
            let count = |entry: &Entry| entry.field("WATCHDOG_COUNT").parse().unwrap_or(1_u64);
            let of_it = entries.iter().filter(|it| it.field("WATCHDOG_PID") == pid);
            let is_lost =
                |it: &&Entry| it.is("guard-degraded") && it.field("WATCHDOG_PATH") == "write";
            let lost = entries.iter().filter(is_lost);
            Ok((of_it.map(count).sum(), lost.map(count).sum(), entries.len()))
        };
        let begun = std::time::Instant::now();
        loop {
            let (reported, lost, entries) = accounted()?;
            if reported + lost == ATTEMPTS {
                stage.note(&format!(
                    "{ATTEMPTS} attempts: {reported} reported, {lost} counted, {entries} entries"
                ));
                return Ok(());
            }
            let is_open = reported + lost < ATTEMPTS && begun.elapsed().as_secs() < 180;
            ensure!(is_open, "{reported} reported and {lost} lost of {ATTEMPTS}");
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    })
}

/// Check that the next watchdog names a process that the guard killed while no watchdog ran. More
/// attempts come before that one than the buffer holds. Text that changed in that time must be
/// reported with an unknown cause.
fn while_nobody_watched(stage: &Stage) -> Result<()> {
    configured(stage, "", || {
        let target = stage.machine().truth(2)?.text_phys_start + 0x2000;
        let before = stage.byte(target)?;
        let value = format!("{:#x}", before ^ 0xff);
        let text = target + 0x1000;
        let was = stage.byte(text)?;
        stage.halt()?;
        let mark = stage.mark()?;
        stage.poke(text, was ^ 1)?;
        let flood = stage.attack("flood", target, &["--value", &value, "--count", "5000"])?;
        ensure!(flood.result == "EPERM", "{}", flood.result);
        let options = ["--device", DEVICE, "--value", &value];
        let reported = with_module(stage, Kind::Remap, target, || {
            let attack = stage.attack("device-mmap", target, &options)?;
            ensure!(attack.result == "SIGKILL", "{}", attack.result);
            stage.start()?;
            let unreported = stage.wait_for(mark, "the rest of the flood", |it| {
                it.is("guard-degraded") && it.field("WATCHDOG_PATH") == "write"
            })?;
            let entries = stage.entries(mark)?;
            let of_it = entries.iter().filter(|it| it.field("WATCHDOG_PID") == flood.pid).count();
            let left: usize = unreported.field("WATCHDOG_COUNT").parse()?;
            ensure!(left > 0 && of_it + left == 5000, "{of_it} reported, {left} counted");
            let killed = reported(stage, mark, "frames", "killed")?;
            ensure!(killed.field("WATCHDOG_PID") == attack.pid, "{killed:?}");
            ensure!(stage.byte(target)? == before, "it was written");
            let tampered = stage.wait_for(mark, "text-tampered", |it| it.is("text-tampered"))?;
            let origin = "so the cause is unknown";
            ensure!(tampered.field("MESSAGE").contains(origin), "{tampered:?}");
            Ok(())
        });
        stage.poke(text, was)?;
        reported?;
        stage.wait_for(mark, "text-clean", |it| it.is("text-clean")).map(drop)
    })
}
