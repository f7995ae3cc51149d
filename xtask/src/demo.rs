//! `cargo xtask demo`: the main job, told act by act on the real three-kernel machine.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use watchdog_tests::attack_module::{DEVICE, Kind};
use watchdog_tests::cases::{self, Entry, Stage, with_module};

use crate::{build, setup};

/// Columns of a terminal that text may fill.
const WIDTH: usize = 80;

#[derive(Args)]
pub(crate) struct Options {
    /// Kernel of every node, by Debian version or suite, with a flavour if need be.
    #[arg(long, default_value = "6.1")]
    kernel: String,
}

/// An act: what it shows, a sentence before it, and the play.
struct Act {
    title: &'static str,
    sentence: &'static str,
    play: fn(&Stage) -> Result<()>,
}

const ACTS: [Act; 12] = [
    Act {
        title: "The watchdog finds both kernels",
        sentence: "On node 0, `systemctl start integrity-watchdog`, without any configuration. It \
                   arms its guard and looks for kernels in all memory that is not node 0's own. What \
                   it finds is compared with what the two nodes say of themselves.",
        play: finds_both,
    },
    Act {
        title: "A healthy machine is left in peace",
        sentence: "Ten seconds of sweeps, a SHA-256 over each page of both kernel texts in every one.",
        play: silence,
    },
    Act {
        title: "A device changes one byte of node 1's kernel",
        sentence: "The host writes into the machine's memory, as a DMA attack would: no kernel is \
                   asked, no guard can see it. The next sweep does.",
        play: flipped_byte,
    },
    Act {
        title: "Root on node 0 writes to node 2's text: write(2)",
        sentence: "An attacker who is root on node 0 opens /dev/mem and writes.",
        play: |stage| denied(stage, "write"),
    },
    Act {
        title: "The same by a writable mapping",
        sentence: "mmap(2) of the text, shared and writable.",
        play: |stage| denied(stage, "mmap"),
    },
    Act {
        title: "The same by mprotect",
        sentence: "A read-only mapping, which is allowed, is made writable afterwards.",
        play: |stage| denied(stage, "mprotect"),
    },
    Act {
        title: "Reading still works",
        sentence: "Node 0 must see the others' memory: that is what it watches them by.",
        play: reading,
    },
    Act {
        title: "The attacker reaches for a driver",
        sentence: "A driver of node 0 maps a page of node 2's text into the attacker. That cannot be \
                   refused: the process is killed before it writes.",
        play: driver,
    },
    Act {
        title: "The attacker switches the guard off",
        sentence: "`kernel.ftrace_enabled = 0` would turn the guard's programs into no-ops without \
                   detaching any. A program that does not hang on ftrace denies it.",
        play: switched_off,
    },
    Act {
        title: "The attacker goes for the watchdog",
        sentence: "kill(2), the pins of the guard, the watchdog's executable: all of it is the \
                   guard's own.",
        play: own,
    },
    Act {
        title: "The watchdog is gone, the guard is not",
        sentence: "Process 1 may stop the watchdog. Writes are denied all the same, and the next \
                   watchdog tells who tried.",
        play: outlived,
    },
    Act {
        title: "Node 2 is started anew, by its own loader",
        sentence: "A loader has to write a node's memory, which the guard denies. By a lease it may: \
                   one executable, one node, some seconds. The watchdog waits and looks at the node \
                   anew.",
        play: leased,
    },
];

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        let begun = Instant::now();
        setup::ensure_ready(&[&self.kernel])?;
        build::guest_programs()?;
        wrapped(
            "",
            &format!(
                "Three unmodified Debian kernels ({}) side by side on one machine, without a \
                 hypervisor between them. The machine is QEMU's, in software emulation (TCG); it \
                 boots in about half a minute.",
                self.kernel
            ),
        );
        let stage = Stage::set(&self.kernel, &cases::Options::default())?;
        for node in 0..=2 {
            let truth = stage.machine().truth(node)?;
            let (start, end) = (truth.text_phys_start, truth.text_phys_end);
            println!("  node {node}: Linux {}, its text at {start:#x}..{end:#x}", truth.release);
        }
        let mut verdicts = Vec::new();
        for (n, act) in ACTS.iter().enumerate() {
            println!("\n── {}. {} {}", n + 1, act.title, "─".repeat(70 - act.title.len()));
            wrapped("", act.sentence);
            let result = (act.play)(&stage);
            if let Err(error) = &result {
                println!("  FAILED: {error:#}");
            }
            verdicts.push(result.is_ok());
        }
        if let Err(error) = stage.stop() {
            println!("  FAILED: {error:#}");
            verdicts.push(false);
        }
        println!("\n{:<64}verdict", "act");
        for (act, held) in ACTS.iter().zip(&verdicts) {
            println!("{:<64}{}", act.title, if *held { "as it must be" } else { "FAILED" });
        }
        println!("\n{:.0?} in all", begun.elapsed());
        if verdicts.contains(&false) {
            bail!("not every act went as it must");
        }
        Ok(())
    }
}

/// Prints text in lines that fit the terminal.
fn wrapped(indent: &str, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
            println!("{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    println!("{indent}{line}");
}

/// Shows an entry as the journal has it.
fn show(entry: &Entry) {
    println!("  journal, priority {}:", entry.field("PRIORITY"));
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
        println!("  node {node} says the same: text at {:#x}, {size} bytes", truth.text_phys_start);
    }
    Ok(())
}

fn silence(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    thread::sleep(Duration::from_secs(10));
    let entries = stage.entries(mark)?;
    ensure!(entries.is_empty(), "there were entries: {entries:#?}");
    let scan = stage.shell("watchdog scan")?;
    scan.text().lines().filter(|line| !line.starts_with(' ')).for_each(|line| println!("  {line}"));
    println!("  journal: no entry");
    Ok(())
}

fn flipped_byte(stage: &Stage) -> Result<()> {
    let at = stage.machine().truth(1)?.text_phys_start + 0x12_3456;
    let before = stage.byte(at)?;
    let mark = stage.mark()?;
    println!("  host: physical {at:#x} was {before:02x}, is {:02x}", before ^ 1);
    stage.poke(at, before ^ 1)?;
    let alert = stage.wait_for(mark, "text-tampered", |entry| entry.is("text-tampered"));
    stage.poke(at, before)?;
    let alert = alert?;
    show(&alert);
    ensure!(
        alert.field("WATCHDOG_PHYS") == format!("{at:#x}"),
        "the alert is about something else"
    );
    println!("  host: the byte is as it was");
    show(&stage.wait_for(mark, "text-clean", |entry| entry.is("text-clean"))?);
    Ok(())
}

fn denied(stage: &Stage, path: &str) -> Result<()> {
    let at = stage.machine().truth(2)?.text_phys_start + 0x1000;
    let before = stage.byte(at)?;
    let value = format!("{:#x}", before ^ 0xff);
    let mark = stage.mark()?;
    println!("  node 0: # attack --path {path} --at {at:#x} --value {value}");
    let attack = stage.attack(path, at, &["--value", &value])?;
    println!("  node 0: {}", attack.result);
    let alert = stage.wait_for(mark, "write-denied", |entry| {
        entry.is("write-denied") && entry.field("WATCHDOG_PID") == attack.pid
    })?;
    show(&alert);
    let after = stage.byte(at)?;
    println!("  host: physical {at:#x} was {before:02x}, is {after:02x}");
    ensure!(attack.result == "EPERM" && after == before, "the write was not denied");
    Ok(())
}

fn reading(stage: &Stage) -> Result<()> {
    let at = stage.machine().truth(2)?.text_phys_start;
    for path in ["read", "mmap-read"] {
        let attack = stage.attack(path, at, &[])?;
        println!("  node 0: {path} at {at:#x}: {}", attack.result);
        ensure!(attack.result == "ok", "{path} was refused");
    }
    Ok(())
}

fn switched_off(stage: &Stage) -> Result<()> {
    let mark = stage.mark()?;
    println!("  node 0: # echo 0 >/proc/sys/kernel/ftrace_enabled");
    let set = stage.machine().node0().shell("echo 0 >/proc/sys/kernel/ftrace_enabled")?;
    ensure!(!set.success(), "it was set");
    println!("  node 0: Operation not permitted");
    show(&stage.wait_for(mark, "guard-tampered", |entry| entry.is("guard-tampered"))?);
    Ok(())
}

fn own(stage: &Stage) -> Result<()> {
    let newest = stage.shell("ls -d /sys/fs/bpf/watchdog/* | sort -V | tail -1")?.text();
    let pin = format!("{}/link-mmap_file", newest.trim());
    for (by, file) in [("kill", ""), ("unlink", pin.as_str()), ("unlink", "/usr/bin/watchdog")] {
        let mark = stage.mark()?;
        println!("  node 0: # disarm --by {by} {file}");
        let attack = stage.disarm_by(by, file)?;
        println!("  node 0: {}", attack.result);
        ensure!(attack.result == "EPERM", "it was not denied");
        show(&stage.wait_for(mark, "guard-tampered", |entry| entry.is("guard-tampered"))?);
    }
    Ok(())
}

fn outlived(stage: &Stage) -> Result<()> {
    println!("  node 0: # systemctl stop integrity-watchdog");
    stage.halt()?;
    let target = stage.machine().truth(1)?.text_phys_start;
    println!("  node 0: # attack --path mmap --at {target:#x}");
    let attack = stage.attack("mmap", target, &[])?;
    println!("  node 0: {}", attack.result);
    ensure!(attack.result == "EPERM", "the guard is gone");
    println!("  node 0: # systemctl start integrity-watchdog");
    let mark = stage.mark()?;
    stage.start()?;
    show(&stage.wait_for(mark, "write-denied", |entry| entry.is("write-denied"))?);
    println!("  node 0's console: # systemctl stop integrity-watchdog; watchdog guard disarm");
    Ok(())
}

fn leased(stage: &Stage) -> Result<()> {
    println!("  node 0: /etc/watchdog/watchdog.toml names both nodes and their memory");
    // Until now by the commands themselves.
    stage.stop()?;
    stage.configured(&cases::configuration(""), || {
        let mark = stage.mark()?;
        loader_is_denied(stage)?;
        println!("  node 0's console: # watchdog guard lease --node service-2 --for 300s --exe …");
        cases::start_by_lease(stage, 2)?;
        let is_shown = |it: &&Entry| {
            ["lease-begun", "lease-ended", "node-rebooted"].iter().any(|kind| it.is(kind))
        };
        stage.entries(mark)?.iter().filter(is_shown).for_each(show);
        let truth = stage.machine().truth(2)?;
        println!("  node 2 says the same: text at {:#x}", truth.text_phys_start);
        loader_is_denied(stage)
    })
}

/// Without a lease the loader is one more program that writes to a node.
fn loader_is_denied(stage: &Stage) -> Result<()> {
    println!("  node 0: # node-loader stop --node 2");
    let denied = stage.machine().node0().shell("node-loader stop --node 2")?;
    let said = String::from_utf8_lossy(&denied.stderr);
    println!(
        "  node 0: {}",
        said.lines().rfind(|line| !line.is_empty()).unwrap_or_default().trim()
    );
    ensure!(!denied.success(), "it was not denied");
    Ok(())
}

fn driver(stage: &Stage) -> Result<()> {
    let at = stage.machine().truth(2)?.text_phys_start + 0x2000;
    let (before, mark) = (stage.byte(at)?, stage.mark()?);
    let value = format!("{:#x}", before ^ 0xff);
    with_module(stage, Kind::Remap, at, || {
        println!("  node 0: # attack --path device-mmap --at {at:#x} --value {value}");
        let attack = stage.attack("device-mmap", at, &["--device", DEVICE, "--value", &value])?;
        println!("  node 0: {}", attack.result);
        ensure!(attack.result == "SIGKILL", "it was not killed");
        show(&stage.wait_for(mark, "write-killed", |entry| entry.is("write-killed"))?);
        println!("  host: physical {at:#x} was {before:02x}, is {:02x}", stage.byte(at)?);
        ensure!(stage.byte(at)? == before, "the text was changed");
        Ok(())
    })
}
