//! `cargo xtask bench`: the overhead of the guard for calls and work that have nothing to do with
//! protected memory, and the overhead of an audit rule for comparison.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;
use watchdog_tests::cases::{Stage, Start};
use watchdog_tests::instructions;
use xtask::{cache, options};

/// An archive in memory, and the work that uses it.
const ARCHIVE: &str = "/dev/shm/archive.tar";
const WORK: [(&str, &str); 3] = [
    (
        "unpack an archive",
        "tar xf /dev/shm/archive.tar -C /dev/shm/tree && rm -rf /dev/shm/tree/usr",
    ),
    (
        "unpack a Debian package",
        "dpkg-deb --extract /dev/shm/package.deb /dev/shm/tree && rm -rf /dev/shm/tree/usr",
    ),
    ("read every file", "find /usr/share /usr/bin -xdev -type f -exec cat {} + >/dev/null"),
];

/// What is active during a measurement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Off,
    Guard,
    Audit,
}

const STATES: [State; 3] = [State::Off, State::Guard, State::Audit];

/// Measurements by state and name.
type Samples = BTreeMap<(State, String), Vec<f64>>;

/// Runs the measurements on each kernel.
pub(crate) fn run(options: &options::Bench) -> Result<()> {
    let mut kernels = options::chosen(&options.kernels).into_iter();
    if options.instructions {
        return kernels.try_for_each(instructions);
    }
    println!(
        "What is added to calls and work that have nothing to do with protected memory: by the\n\
         guard, and by an audit rule on /dev/mem (-w /dev/mem -p wa). Medians of {} rounds in\n\
         which the states take turns; time of the processor that the calling thread had.\n\
         The machine is QEMU's in software emulation (TCG): every instruction takes ten to\n\
         fifty times as long as on a processor. Compare columns, not machines; and where the\n\
         host is busy, compare the least that a work took.",
        options.rounds
    );
    kernels.try_for_each(|kernel| measure(options, kernel))
}

/// Counts instructions on a kernel, prints the counts and records them.
fn instructions(kernel: &str) -> Result<()> {
    let (release, counts) = instructions::count(kernel)?;
    println!(
        "\nLinux {release}\n{:<34}{:>13}{:>13}{:>13}",
        "instructions", "off", "guard +", "audit +"
    );
    let names = counts.keys().filter(|(_, state)| *state == instructions::State::Off);
    for (name, _) in names {
        let [off, guard, audit] = instructions::STATES
            .map(|state| counts.get(&(name.clone(), state)).copied().unwrap_or(f64::NAN));
        println!("{name:<34}{off:>13.0}{:>13.0}{:>13.0}", guard - off, audit - off);
    }
    let file = cache::project_root().join("tests/instructions.tsv");
    let others = fs::read_to_string(&file)?;
    let of_it = format!("{release}\t");
    let mut lines: Vec<_> = others.lines().filter(|line| !line.starts_with(&of_it)).collect();
    let record = instructions::record(&release, &counts);
    lines.extend(record.lines());
    Ok(fs::write(&file, lines.join("\n") + "\n")?)
}

fn measure(options: &options::Bench, kernel: &str) -> Result<()> {
    let stage = Stage::set(kernel, Start::Ready)?;
    stage.shell(&format!(
        "tar cf {ARCHIVE} /usr/share /usr/bin 2>&1; mkdir /dev/shm/tree
         mkdir -p /dev/shm/package/DEBIAN /dev/shm/package/usr
         printf 'Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n' \
             >/dev/shm/package/DEBIAN/control
         cp -a /usr/share /dev/shm/package/usr
         dpkg-deb -Zxz -z1 --build /dev/shm/package /dev/shm/package.deb
         rm -rf /dev/shm/package"
    ))?;
    let (mut calls, mut work) = (Samples::new(), Samples::new());
    for round in 0..options.rounds {
        // Each state comes first, second and last equally often.
        for n in 0..STATES.len() {
            let state = STATES[(round + n) % STATES.len()];
            state.enter(&stage)?;
            for (name, nanos) in object(&stage, "cost calls")? {
                calls.entry((state, name)).or_default().push(nanos);
            }
            for (name, script) in WORK {
                for _ in 0..options.works {
                    for (clock, ms) in object(&stage, &format!("cost work sh -c '{script}'"))? {
                        let name = format!("{name}, {clock}");
                        work.entry((state, name)).or_default().push(ms);
                    }
                }
            }
            state.leave(&stage)?;
        }
    }
    println!("\nLinux {}", stage.kernel.release);
    table("ns a call, median", &calls, median);
    table("ms, median", &work, median);
    table("ms, least", &work, least);
    Ok(())
}

impl State {
    fn enter(self, stage: &Stage) -> Result<()> {
        match self {
            Self::Off => stage.shell("cost no-audit").map(drop),
            Self::Guard => {
                stage.shell("cost no-audit")?;
                stage.start()
            }
            Self::Audit => stage.shell("cost audit").map(drop),
        }
    }

    fn leave(self, stage: &Stage) -> Result<()> {
        match self {
            Self::Guard => stage.stop(),
            Self::Off | Self::Audit => Ok(()),
        }
    }
}

/// Runs a command on node 0 that prints numbers by name.
fn object(stage: &Stage, command: &str) -> Result<Vec<(String, f64)>> {
    let printed: Value = serde_json::from_str(stage.shell(command)?.text().trim())?;
    let members = printed.as_object().with_context(|| format!("`{command}` said {printed}"))?;
    members
        .iter()
        .map(|(name, value)| Ok((name.clone(), value.as_f64().context("no number")?)))
        .collect()
}

/// Prints the representative value of each state's samples side by side, and how much the guard and
/// the audit rule add.
fn table(unit: &str, samples: &Samples, stands: fn(&[f64]) -> f64) {
    println!(
        "\n{unit:<34}{:>9}{:>9}{:>9}{:>7}{:>9}{:>9}{:>7}",
        "off", "guard", "added", "ratio", "audit", "added", "ratio"
    );
    let names = samples.keys().filter(|(state, _)| *state == State::Off).map(|(_, name)| name);
    for name in names {
        let [off, guard, audit] = STATES.map(|state| {
            samples.get(&(state, name.clone())).map_or(f64::NAN, |times| stands(times))
        });
        println!(
            "{name:<34}{off:>9.0}{guard:>9.0}{:>9.0}{:>7.3}{audit:>9.0}{:>9.0}{:>7.3}",
            guard - off,
            guard / off,
            audit - off,
            audit / off
        );
    }
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::NAN, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a single wrong measurement does not move the median.
    #[test]
    fn medians() {
        assert!((median(&[3.0, 1.0, 1e9, 2.0, 2.5]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }
}
