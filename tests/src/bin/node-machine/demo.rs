//! `cargo xtask demo`: the watchdog's main job, shown act by act on the real three-kernel machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use watchdog_tests::attack_module::{DEVICE, Kind};
use watchdog_tests::cases::{self, Entry, Stage, Start, with_module};
use xtask::acts::{ACTS, Act};
use xtask::options;

use crate::record;

/// Columns of a terminal that text may fill.
const WIDTH: usize = 80;

/// Prints a line and records the time.
macro_rules! say {
    ($($argument:tt)*) => {{
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        println!($($argument)*);
    }};
}

/// The function that plays each act.
const PLAYS: [fn(&Stage) -> Result<()>; ACTS.len()] = [
    finds_both,
    silence,
    flipped_byte,
    |stage| denied(stage, "write"),
    |stage| denied(stage, "mmap"),
    |stage| denied(stage, "mprotect"),
    reading,
    driver,
    switched_off,
    own,
    outlived,
    leased,
];

/// Plays the chosen acts, or records another process that plays them.
pub(crate) fn run(options: &options::Demo) -> Result<()> {
    let acts = chosen(&options.acts)?;
    match &options.record {
        Some(file) => record::demo(options, file),
        None => play(&options.kernel, &acts),
    }
}

/// Returns the acts with these numbers, or all acts, each with its index.
fn chosen(numbers: &[usize]) -> Result<Vec<(usize, Act)>> {
    let all = || ACTS.into_iter().enumerate();
    if let Some(unknown) = numbers.iter().find(|n| !(1..=ACTS.len()).contains(*n)) {
        bail!("unknown act {unknown}; expected 1 to {}: cargo xtask demo --list", ACTS.len());
    }
    Ok(all().filter(|(n, _)| numbers.is_empty() || numbers.contains(&(n + 1))).collect())
}

fn play(kernel: &str, acts: &[(usize, Act)]) -> Result<()> {
    let begun = Instant::now();
    let _ticker = Ticker::start();
    wrapped(
        "",
        &format!(
            "Three unmodified Debian kernels ({kernel}) run side by side on one machine, without \
             a hypervisor between them. The machine is QEMU, in software emulation (TCG). It \
             boots once, in half a minute. From then on it is restored from a snapshot in a second."
        ),
    );
    let stage = Stage::set_with(kernel, Start::Ready, |reached| say!("  {reached}"))?;
    for node in 0..=2 {
        let truth = stage.machine().truth(node)?;
        let (start, end) = (truth.text_phys_start, truth.text_phys_end);
        say!("  node {node}: Linux {}, its text at {start:#x}..{end:#x}", truth.release);
    }
    if acts.iter().all(|(n, _)| *n != 0) {
        say!("  node 0: # systemctl start integrity-watchdog");
        stage.start()?;
    }
    let mut verdicts = Vec::new();
    for &(n, act) in acts {
        say!("\n── {}. {} {}", n + 1, act.title, "─".repeat(70 - act.title.len()));
        wrapped("", act.sentence);
        let result = PLAYS[n](&stage);
        if let Err(error) = &result {
            say!("  FAILED: {error:#}");
        }
        verdicts.push((act.title, result.is_ok()));
    }
    say!("\n{:<64}verdict", "act");
    for (title, held) in &verdicts {
        say!("{title:<64}{}", if *held { "ok" } else { "FAILED" });
    }
    say!("\n{:.0?} in all", begun.elapsed());
    ensure!(verdicts.iter().all(|(_, held)| *held), "some acts failed");
    Ok(())
}

/// Time of the last printed line.
static LAST: LazyLock<Mutex<Instant>> = LazyLock::new(|| Mutex::new(Instant::now()));

/// Prints a line after some time without any other.
struct Ticker(Arc<AtomicBool>);

impl Ticker {
    /// Maximum time without a line.
    const SILENCE: Duration = Duration::from_secs(12);

    fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let ticker = Self(Arc::clone(&ended));
        let begun = Instant::now();
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(500));
                let last = *LAST.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() > Self::SILENCE {
                    say!("  … {:.0?} so far", begun.elapsed());
                }
            }
        });
        ticker
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Prints text in lines that fit the terminal.
fn wrapped(indent: &str, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
            say!("{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    say!("{indent}{line}");
}

/// Prints an entry as it is in the journal.
fn show(entry: &Entry) {
    say!("  journal, priority {}:", entry.field("PRIORITY"));
    wrapped("    ", entry.field("MESSAGE"));
    let fields = [
        "WATCHDOG_EVENT",
        "WATCHDOG_NODE",
        "WATCHDOG_PHYS",
        "WATCHDOG_SYMBOL",
        "WATCHDOG_PATH",
        "WATCHDOG_PID",
        "WATCHDOG_EXE",
        "WATCHDOG_ACTION",
    ];
    let known = fields.iter().filter(|field| !entry.field(field).is_empty());
    let known: Vec<_> = known.map(|field| format!("{field}={}", entry.field(field))).collect();
    wrapped("    ", &known.join(" "));
}

fn finds_both(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    stage.start()?;
    let entries = stage.entries(mark)?;
    entries.iter().for_each(show);
    ensure!(entries.iter().any(|entry| entry.is("guard-armed")), "the guard is not armed");
    for node in [1, 2] {
        let truth = stage.machine().truth(node)?;
        let size = truth.text_phys_end - truth.text_phys_start;
        let said = |entry: &&Entry| {
            entry.is("node-found")
                && entry.field("WATCHDOG_PHYS") == format!("{:#x}", truth.text_phys_start)
                && entry.field("WATCHDOG_VIRT") == format!("{:#x}", truth.stext_virt)
                && entry.field("WATCHDOG_LENGTH") == size.to_string()
        };
        ensure!(entries.iter().any(|entry| said(&entry)), "node {node} was not found as it is");
        say!("  node {node} reports the same: text at {:#x}, {size} bytes", truth.text_phys_start);
    }
    Ok(())
}

fn silence(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    thread::sleep(Duration::from_secs(6));
    let entries = stage.entries(mark)?;
    ensure!(entries.is_empty(), "there were entries: {entries:#?}");
    let scan = stage.shell("watchdog scan")?;
    scan.text().lines().filter(|line| !line.starts_with(' ')).for_each(|line| say!("  {line}"));
    say!("  journal: no entry");
    Ok(())
}

fn flipped_byte(stage: &Stage) -> Result<()> {
    let at = stage.machine().truth(1)?.text_phys_start + 0x12_3456;
    let before = stage.byte(at)?;
    let mark = stage.mark()?;
    say!("  host: physical {at:#x} was {before:02x}, is {:02x}", before ^ 1);
    stage.poke(at, before ^ 1)?;
    let alert = stage.wait_for(mark, "text-tampered", |entry| entry.is("text-tampered"));
    stage.poke(at, before)?;
    let alert = alert?;
    show(&alert);
    ensure!(
        alert.field("WATCHDOG_PHYS") == format!("{at:#x}"),
        "the alert is about something else"
    );
    say!("  host: the byte is restored");
    show(&stage.wait_for(mark, "text-clean", |entry| entry.is("text-clean"))?);
    Ok(())
}

fn denied(stage: &Stage, path: &str) -> Result<()> {
    let at = stage.machine().truth(2)?.text_phys_start + 0x1000;
    let before = stage.byte(at)?;
    let value = format!("{:#x}", before ^ 0xff);
    let mark = stage.mark()?;
    say!("  node 0: # attack --path {path} --at {at:#x} --value {value}");
    let attack = stage.attack(path, at, &["--value", &value])?;
    say!("  node 0: {}", attack.result);
    let alert = stage.wait_for(mark, "write-denied", |entry| {
        entry.is("write-denied") && entry.field("WATCHDOG_PID") == attack.pid
    })?;
    show(&alert);
    let after = stage.byte(at)?;
    say!("  host: physical {at:#x} was {before:02x}, is {after:02x}");
    ensure!(attack.result == "EPERM" && after == before, "the write was not denied");
    Ok(())
}

fn reading(stage: &Stage) -> Result<()> {
    let at = stage.machine().truth(2)?.text_phys_start;
    for path in ["read", "mmap-read"] {
        let attack = stage.attack(path, at, &[])?;
        say!("  node 0: {path} at {at:#x}: {}", attack.result);
        ensure!(attack.result == "ok", "{path} was refused");
    }
    Ok(())
}

fn switched_off(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    say!("  node 0: # echo 0 >/proc/sys/kernel/ftrace_enabled");
    let set = stage.machine().node0().shell("echo 0 >/proc/sys/kernel/ftrace_enabled")?;
    ensure!(!set.success(), "it was set");
    say!("  node 0: Operation not permitted");
    show(&stage.wait_for(mark, "guard-tampered", |entry| entry.is("guard-tampered"))?);
    Ok(())
}

fn own(stage: &Stage) -> Result<()> {
    let newest = stage.shell("ls -d /sys/fs/bpf/watchdog/* | sort -V | tail -1")?.text();
    let pin = format!("{}/link-mmap_file", newest.trim());
    for (by, file) in [("kill", ""), ("unlink", pin.as_str()), ("unlink", "/usr/bin/watchdog")] {
        let mark = stage.mark()?;
        say!("  node 0: # disarm --by {by} {file}");
        let attack = stage.disarm_by(by, file)?;
        say!("  node 0: {}", attack.result);
        ensure!(attack.result == "EPERM", "it was not denied");
        show(&stage.wait_for(mark, "guard-tampered", |entry| entry.is("guard-tampered"))?);
    }
    Ok(())
}

fn outlived(stage: &Stage) -> Result<()> {
    say!("  node 0: # systemctl stop integrity-watchdog");
    stage.halt()?;
    let target = stage.machine().truth(1)?.text_phys_start;
    say!("  node 0: # attack --path mmap --at {target:#x}");
    let attack = stage.attack("mmap", target, &[])?;
    say!("  node 0: {}", attack.result);
    ensure!(attack.result == "EPERM", "the guard is gone");
    say!("  node 0: # systemctl start integrity-watchdog");
    let mark = stage.mark()?;
    stage.start()?;
    show(&stage.wait_for(mark, "write-denied", |entry| entry.is("write-denied"))?);
    say!("  node 0's console: # systemctl stop integrity-watchdog; watchdog guard disarm");
    Ok(())
}

fn leased(stage: &Stage) -> Result<()> {
    say!("  node 0: /etc/watchdog/watchdog.toml names both nodes and their memory");
    // The earlier acts ran the service without this configuration. It starts again below.
    stage.stop()?;
    let leaves = format!("[guard]\n{}", cases::TRAMPOLINE);
    stage.configured(&cases::configuration(&leaves), || {
        let mark = stage.mark()?;
        loader_is_denied(stage)?;
        say!(
            "  node 0's console: # watchdog guard lease --node service-2 --for {} --exe …",
            cases::LEASE
        );
        cases::start_by_lease(stage, 2)?;
        let is_shown = |it: &&Entry| {
            ["lease-begun", "lease-ended", "node-rebooted"].iter().any(|kind| it.is(kind))
        };
        stage.entries(mark)?.iter().filter(is_shown).for_each(show);
        let truth = stage.machine().truth(2)?;
        say!("  node 2 reports the same: text at {:#x}", truth.text_phys_start);
        loader_is_denied(stage)
    })
}

/// Without a lease, the loader is denied like any other program that writes to a node.
fn loader_is_denied(stage: &Stage) -> Result<()> {
    say!("  node 0: # node-loader stop --node 2");
    let denied = stage.machine().node0().shell("node-loader stop --node 2")?;
    let said = String::from_utf8_lossy(&denied.stderr);
    say!("  node 0: {}", said.lines().rfind(|line| !line.is_empty()).unwrap_or_default().trim());
    ensure!(!denied.success(), "it was not denied");
    Ok(())
}

fn driver(stage: &Stage) -> Result<()> {
    let at = stage.machine().truth(2)?.text_phys_start + 0x2000;
    let (before, mark) = (stage.byte(at)?, stage.mark()?);
    let value = format!("{:#x}", before ^ 0xff);
    with_module(stage, Kind::Remap, at, || {
        say!("  node 0: # attack --path device-mmap --at {at:#x} --value {value}");
        let attack = stage.attack("device-mmap", at, &["--device", DEVICE, "--value", &value])?;
        say!("  node 0: {}", attack.result);
        ensure!(attack.result == "SIGKILL", "it was not killed");
        show(&stage.wait_for(mark, "write-killed", |entry| entry.is("write-killed"))?);
        say!("  host: physical {at:#x} was {before:02x}, is {:02x}", stage.byte(at)?);
        ensure!(stage.byte(at)? == before, "the text was changed");
        Ok(())
    })
}
