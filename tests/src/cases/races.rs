//! Threads that race one another, against a guard in which one program uses what another one saved.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::guard::{BESIDE, configured};
use super::{List, Stage, Start, Times};
use crate::layout;

pub(super) const CASES: List = &[(
    "guard: threads that race one another get no write through",
    Start::Learned,
    no_race_is_won,
)];

const PAGE: u64 = 4096;
/// Four pages that belong to no node and that the attacker may write.
const VIA: u64 = 0x2000_1000;
/// The distance, in bytes, between the places of two ways to write in one page.
const PLACE: usize = 64;
/// Ways to write that call no program of the guard: only their effect shows.
const UNJUDGED: [&str; 2] = ["mremap", "store"];
/// Events of a guard, or a watch, that did not hold.
const BROKEN: [&str; 4] = ["guard-tampered", "text-tampered", "node-lost", "write-killed"];
/// How long the attack may take to begin and to end, under emulation.
const AROUND: Duration = Duration::from_secs(240);
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// How often the journal is read. It is kept in memory, and drops old entries.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// Check that threads that race one another change no byte of a node's text, and none behind the
/// border of its memory. They change one another's descriptors, positions, vectors, queue entries
/// and mappings, on two processors with full preemption. Each way to write must work beside the
/// node, and the service must be healthy afterwards.
fn no_race_is_won(stage: &Stage) -> Result<()> {
    stage.preempt()?;
    configured(stage, BESIDE, || race(stage))
}

fn race(stage: &Stage) -> Result<()> {
    let target = (stage.machine().truth(2)?.text_phys_start & !(PAGE - 1)) + PAGE;
    let border = layout::main_range(1).start;
    stage.machine().ram().write(VIA, &[0; 4 * PAGE as usize])?;
    stage.machine().ram().write(border - PAGE, &[0; PAGE as usize])?;
    let protected = || -> Result<_> { Ok((page(stage, target)?, page(stage, border)?)) };
    let (before, mark, process) = (protected()?, stage.mark()?, stage.watchdog()?);
    let since = stage.shell("date +%s")?.text().trim().to_owned();
    let (mut seen, mut asked) = (BTreeSet::new(), Instant::now());
    // The seed differs in each run, and is printed.
    let seed = u64::from(rand::random::<u32>());
    let said = run(stage, target, border, seed, || {
        ensure!(protected()? == before, "a write got through (seed {seed})");
        for at in (VIA..VIA + 4 * PAGE).step_by(PLACE).chain([border - 1]) {
            seen.insert((at, stage.byte(at)?));
        }
        if asked.elapsed() > ASK_EVERY {
            asked = Instant::now();
            holds(stage, &since)?;
        }
        Ok(())
    })?;
    show(stage, seed, &said);
    ensure!(protected()? == before, "a write got through (seed {seed})");
    judge(&said, border, &seen).with_context(|| format!("seed {seed}"))?;
    holds(stage, &since)?;
    healthy(stage, mark, target, process)
}

/// Runs the attack, and calls `look` until it ends. Returns the attack's counts.
fn run(
    stage: &Stage,
    target: u64,
    border: u64,
    seed: u64,
    mut look: impl FnMut() -> Result<()>,
) -> Result<Value> {
    let (target, via, border) =
        (format!("{target:#x}"), format!("{VIA:#x}"), format!("{border:#x}"));
    let races = Times::from_environment()?.races;
    let (seconds, seed) = (races.as_secs().to_string(), seed.to_string());
    let argv = ["attack", "--path", "race", "--at", &target, "--via", &via, "--border", &border];
    let more = ["--seconds", &seconds, "--seed", &seed];
    let mut attack = stage.machine().node0().spawn(argv.iter().chain(&more))?;
    let begun = Instant::now();
    while !attack.so_far()?.stdout.ends_with(b"\n") {
        look()?;
        if begun.elapsed() > races + AROUND {
            bail!("the attack does not end: {}", attack.so_far()?);
        }
        thread::sleep(SAMPLE_EVERY);
    }
    let output = attack.wait(AROUND)?;
    ensure!(matches!(output.status, 0 | 1), "the attack could not be tried: {output}");
    serde_json::from_str(output.text().trim()).context("the attack's last line")
}

/// Checks that no thread saw a write to the node succeed. Each way to write must have been denied
/// at the node, and must have written beside it. `seen` has the bytes that were in memory at some
/// time.
fn judge(said: &Value, border: u64, seen: &BTreeSet<(u64, u8)>) -> Result<()> {
    ensure!(said["killed"] == 0, "the attacker was killed: only a mapping that was made does that");
    let value = said["value"].as_u64().context("no value")? as u8;
    let kinds = said["kinds"].as_object().context("no kinds")?;
    for (name, of_it) in kinds {
        let count = |what: &str| of_it[what].as_u64().with_context(|| format!("{name}: no {what}"));
        ensure!(count("through")? == 0, "{name} succeeded at a node's memory");
        ensure!(count("allowed")? > 0, "{name} never succeeded beside it");
        ensure!(count("denied_elsewhere")? == 0, "{name} was denied beside it");
        let is_judged = !UNJUDGED.contains(&name.as_str());
        ensure!(!is_judged || count("denied")? > 0, "{name} was never denied");
        let at = match name.as_str() {
            "border" => border - 1,
            "write" | "writev" => VIA + PAGE + count("place")?,
            _ => VIA + count("place")?,
        };
        ensure!(seen.contains(&(at, value)), "{name} wrote nothing at {at:#x}");
    }
    Ok(())
}

/// Checks that no event since the race began says that the guard or the watch did not hold.
fn holds(stage: &Stage, since: &str) -> Result<()> {
    let kinds = BROKEN.map(|kind| format!("WATCHDOG_EVENT={kind}")).join(" + ");
    let reported = stage.shell(&format!(
        "journalctl --sync; journalctl -q --no-pager -o cat --since=@{since} {kinds}"
    ))?;
    ensure!(reported.text().trim().is_empty(), "the guard did not hold: {}", reported.text());
    Ok(())
}

/// Checks that the service has the same process, and still denies and reports.
fn healthy(stage: &Stage, mark: usize, target: u64, process: u32) -> Result<()> {
    ensure!(stage.watchdog()? == process, "the service was started anew");
    let entries = stage.entries(mark)?;
    let mut kinds: BTreeMap<_, u64> = BTreeMap::new();
    for entry in &entries {
        let count = entry.field("WATCHDOG_COUNT").parse().unwrap_or(1);
        *kinds.entry(entry.field("WATCHDOG_EVENT")).or_default() += count;
    }
    stage.note(&format!("{} entries; attempts and losses by event: {kinds:?}", entries.len()));
    let mark = stage.mark()?;
    let attack = stage.attack_unchanged("pwrite", target, &[])?;
    ensure!(attack.result == "EPERM", "afterwards: {}", attack.result);
    let of_it = |entry: &super::Entry| entry.field("WATCHDOG_PID") == attack.pid;
    stage.wait_for(mark, "a denial afterwards", of_it).map(drop)
}

fn page(stage: &Stage, at: u64) -> Result<Vec<u8>> {
    let mut page = vec![0; PAGE as usize];
    stage.machine().ram().read(at, &mut page)?;
    Ok(page)
}

/// Prints the counts of the attack.
fn show(stage: &Stage, seed: u64, said: &Value) {
    let [killed, crashed, signal] = ["killed", "crashed", "last_signal"].map(|what| &said[what]);
    stage.note(&format!(
        "races, seed {seed}: {killed} processes killed, {crashed} crashed (by signal {signal})"
    ));
    for (name, of_it) in said["kinds"].as_object().into_iter().flatten() {
        let [tried, allowed, denied, elsewhere, through] =
            ["tried", "allowed", "denied", "denied_elsewhere", "through"].map(|what| &of_it[what]);
        stage.note(&format!(
            "{name:<17} tried {tried:>8}, allowed {allowed:>8}, denied {denied:>8}, denied \
             elsewhere {elsewhere:>6}, through {through}"
        ));
    }
}
