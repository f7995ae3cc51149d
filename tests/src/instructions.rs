//! What the guard costs, in instructions of node 0's processor: the same figures on every host.
//!
//! QEMU counts instructions (`-icount shift=0`) and lets the machine's clocks, its time-stamp
//! counter among them, go on by one nanosecond for each. So what node 0 takes for nanoseconds of
//! its processor are instructions, of the kernel and of the guard's programs alike. No other node
//! runs: they would take turns with node 0 on the host's one thread.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cases::{Stage, configuration};
use crate::machine::Machine;

/// The figures of this project's bench, a line each: release, state, what, instructions.
pub const RECORD: &str = include_str!("../instructions.tsv");
/// By what part of it a figure may differ from the one on record.
const TOLERANCE: f64 = 0.03;
/// Instructions a call that are no difference: what an interrupt's tail or a colder cache of the
/// kernel's costs.
const NOISE: f64 = 25.0;

/// Batches of each call, and calls of a batch.
const CALLS: &str = "cost calls --batches 5 --size 64 --least";
/// Processes that make them; the least counts. Where things lie in a process's memory is drawn at
/// random, and a mapping costs up to 3 % more where others are near (Linux 6.1).
const PROCESSES: usize = 5;
/// Each work is done so often, and the least count is kept: an interrupt adds to a count.
const WORKS: usize = 3;
/// Work that is made of many calls, on files that are there already.
const WORK: [(&str, &str); 2] = [
    ("unpack an archive", "tar xf /dev/shm/archive.tar -C /dev/shm/tree"),
    ("read every file", "find /dev/shm/tree -xdev -type f -exec cat {} +"),
];

/// What is on while the same is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Neither guard nor audit.
    Off,
    /// The guard, preset `standard`.
    Guard,
    /// An audit rule on `/dev/mem`, in place of the guard.
    Audit,
}

/// All of them, in the order in which they are measured.
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

/// Instructions, by what they are for and by state: of one call, or of a whole work.
pub type Counts = BTreeMap<(String, State), f64>;

/// Counts on a machine with this kernel. Returns the kernel's release with the counts.
///
/// # Errors
/// When the machine, the service or what is measured fails.
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
        // What a state change left to be done.
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

/// Keeps the least.
fn least(counts: &mut Counts, what: &str, state: State, instructions: f64) {
    let least = counts.entry((what.to_owned(), state)).or_insert(instructions);
    *least = least.min(instructions);
}

/// The same files there before each work.
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

/// The figures on record of a kernel's release; `None` where there are none.
///
/// # Errors
/// When a line of the record is none.
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

/// Lines for the record.
#[must_use]
pub fn record(release: &str, counts: &Counts) -> String {
    let line = |((what, state), instructions): (&(String, State), &f64)| {
        format!("{release}\t{state}\t{what}\t{instructions:.0}\n")
    };
    counts.iter().map(line).collect()
}

/// Checks counts against those on record.
///
/// # Errors
/// When one differs by more than 3 %, or is of something else.
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

    /// Check that the record can be read as it is written, that small differences are none, and
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
