//! The overhead of the guard in instructions of node 0's processor: the same numbers on every host.
//!
//! QEMU counts instructions (`-icount shift=0`). The machine's clocks, including its time-stamp
//! counter, advance by one nanosecond per instruction. The nanoseconds that node 0 measures are
//! therefore instructions, both of the kernel and of the guard's programs. No other node runs,
//! since it would share the host's one thread with node 0.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cases::{Stage, configuration};
use crate::machine::Machine;

/// The recorded counts of this project's bench, one per line: release, state, name, instructions.
pub const RECORD: &str = include_str!("../instructions.tsv");
/// Largest tolerated difference from the recorded count, as a fraction.
const TOLERANCE: f64 = 0.03;
/// Differences of this many instructions per call are ignored: the end of an interrupt or a colder
/// cache in the kernel costs as much.
const NOISE: f64 = 25.0;

/// Number of batches of each call, and of calls in a batch.
const CALLS: &str = "cost calls --batches 5 --size 64 --least";
/// Number of processes that make the calls; the smallest count is kept. The memory layout of a
/// process is random, and a mapping costs up to 3 % more if others are near (Linux 6.1).
const PROCESSES: usize = 5;
/// Number of runs of each work; the smallest count is kept, since an interrupt adds to a count.
const WORKS: usize = 3;
/// Work that consists of many calls, on files that exist already.
const WORK: [(&str, &str); 2] = [
    ("unpack an archive", "tar xf /dev/shm/archive.tar -C /dev/shm/tree"),
    ("read every file", "find /dev/shm/tree -xdev -type f -exec cat {} +"),
];

/// What is active during a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Neither guard nor audit.
    Off,
    /// The guard, preset `standard`.
    Guard,
    /// An audit rule on `/dev/mem`, in place of the guard.
    Audit,
}

/// All states, in the order of measurement.
pub const STATES: [State; 3] = [State::Off, State::Guard, State::Audit];

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Guard => "guard",
            Self::Audit => "audit",
        })
    }
}

/// Instructions of one call or of a whole work, by name and state.
pub type Counts = BTreeMap<(String, State), f64>;

/// Counts instructions on a machine with this kernel. Returns the kernel's release and the counts.
///
/// # Errors
/// If the machine, the service or a measured command fails.
pub fn count(kernel: &str) -> Result<(String, Counts)> {
    let machine = Machine::builder().iommu().service_nodes(0).counted();
    let stage = Stage::on(machine, kernel, &format!("counted-{kernel}"), PREPARE)?;
    let mut counts = Counts::new();
    for state in STATES {
        match state {
            State::Off => stage.shell("cost no-audit").map(drop)?,
            State::Guard => stage.configured(&configuration(""), || Ok(()))?,
            State::Audit => {
                stage.idle()?;
                stage.shell("cost audit").map(drop)?;
            }
        }
        // Wait for work that the change of state has caused.
        stage.shell("sleep 1")?;
        for _ in 0..PROCESSES {
            for (call, instructions) in numbers(&stage, CALLS)? {
                least(&mut counts, &call, state, instructions);
            }
        }
        for _ in 0..WORKS {
            stage.shell(UNPACK)?;
            for (name, script) in WORK {
                let measured = numbers(&stage, &format!("cost work {script}"))?;
                let millis = measured.get("processor_ms").context("no processor time")?;
                least(&mut counts, name, state, millis * 1e6);
            }
        }
    }
    Ok((stage.kernel.release.clone(), counts))
}

/// Keeps the smallest count.
fn least(counts: &mut Counts, what: &str, state: State, instructions: f64) {
    let least = counts.entry((what.to_owned(), state)).or_insert(instructions);
    *least = least.min(instructions);
}

/// Restores the same files before each work.
const UNPACK: &str = "rm -rf /dev/shm/tree; mkdir /dev/shm/tree
tar xf /dev/shm/archive.tar -C /dev/shm/tree";

/// Files for [`WORK`].
const PREPARE: &str = "tar cf /dev/shm/archive.tar -C / usr/share/perl5 usr/share/bash-completion \
                       usr/share/dbus-1 usr/lib/systemd 2>/dev/null; mkdir -p /dev/shm/tree";

/// Runs a command on node 0 that prints numbers by name.
fn numbers(stage: &Stage, command: &str) -> Result<BTreeMap<String, f64>> {
    let printed: Value = serde_json::from_str(stage.shell(command)?.text().trim())?;
    let members = printed.as_object().with_context(|| format!("`{command}` said {printed}"))?;
    let numbers = members.iter().map(|(name, value)| {
        let number = value.as_f64().with_context(|| format!("`{command}` said {printed}"))?;
        Ok((name.clone(), number))
    });
    numbers.collect()
}

/// Returns the recorded counts of a kernel's release; `None` if there are none.
///
/// # Errors
/// If a line of the record is malformed.
pub fn on_record(release: &str) -> Result<Option<Counts>> {
    let mut counts = Counts::new();
    for line in RECORD.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [of, state, what, instructions] = fields.as_slice() else { bail!("no record: {line}") };
        let state = STATES.into_iter().find(|it| it.to_string() == *state);
        let state = state.with_context(|| format!("no state: {line}"))?;
        if *of == release {
            counts.insert(((*what).to_owned(), state), instructions.parse()?);
        }
    }
    Ok((!counts.is_empty()).then_some(counts))
}

/// Returns lines for the record.
#[must_use]
pub fn record(release: &str, counts: &Counts) -> String {
    let line = |((what, state), instructions): (&(String, State), &f64)| {
        format!("{release}\t{state}\t{what}\t{instructions:.0}\n")
    };
    counts.iter().map(line).collect()
}

/// Compares counts with the recorded ones.
///
/// # Errors
/// If a count differs by more than 3 % and more than 25 instructions, or the names are not the
/// same.
pub fn compare(counts: &Counts, record: &Counts) -> Result<()> {
    ensure!(counts.keys().eq(record.keys()), "not the same things were counted");
    let other = counts
        .iter()
        .zip(record.values())
        .filter(|((_, now), then)| (*now - *then).abs() > (*then * TOLERANCE).max(NOISE));
    let lines: Vec<_> = other
        .map(|(((what, state), now), then)| format!("{what}, {state}: {then:.0} became {now:.0}"))
        .collect();
    ensure!(
        lines.is_empty(),
        "instructions differ from tests/instructions.tsv:\n{}",
        lines.join("\n")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the record is read as it was written, that small differences are ignored, and
    /// that others are named.
    #[test]
    fn records() {
        let counts = |n: f64| Counts::from([(("open".to_owned(), State::Guard), n)]);
        assert_eq!(record("6.1", &counts(2000.4)), "6.1\tguard\topen\t2000\n");
        assert!(on_record("no such release").expect("a sound record").is_none());
        assert!(compare(&counts(2000.0), &counts(2050.0)).is_ok());
        let differs = compare(&counts(2000.0), &counts(2100.0)).expect_err("5 %");
        assert!(format!("{differs}").contains("open, guard: 2100 became 2000"), "{differs}");
        assert!(compare(&counts(1.0), &Counts::new()).is_err());
    }
}
