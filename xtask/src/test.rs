//! `cargo xtask test`: every test, in one run with one summary.

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use watchdog_tests::cache;
use watchdog_tests::cases::{self, Tally};

use crate::{build, fuzz, setup};

/// Kernels that the machine is booted with.
const KERNELS: [&str; 3] = ["6.1", "6.12", "7.2"];
/// Tests that boot machines of their own, those that take longest first.
const ON_MACHINES: [&str; 5] = ["node_machine", "toggles", "judgement", "damage", "vendor_image"];

/// What can be done beside other things.
enum Job<'a> {
    /// All cases on the machine with a kernel.
    Cases(&'a str),
    /// Tests of the package `watchdog-tests`.
    Tests(&'static str),
}

#[derive(Args)]
pub(crate) struct Options {
    /// Kernels to boot; repeat for more [default: 6.1, 6.12, 7.2].
    #[arg(long = "kernel")]
    kernels: Vec<String>,
    /// Only cases on the machine whose name contains this, and no other tests.
    #[arg(long, default_value = "")]
    case: String,
    /// Seconds for which a healthy machine is swept without an alert.
    #[arg(long, default_value_t = 10)]
    soak: u64,
    /// Seconds for which the guard is raced against.
    #[arg(long, default_value_t = 5)]
    races: u64,
    /// How often what describes each kernel is damaged at random, all kernels together.
    #[arg(long, default_value_t = 300)]
    damage: usize,
    /// How many random toggles rewrite each kernel's text while it is judged.
    #[arg(long, default_value_t = 15)]
    toggles: usize,
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        let kernels = chosen(&self.kernels);
        setup::ensure_ready(&kernels)?;
        build::guest_programs()?;
        let begun = Instant::now();
        let mut total = Tally::default();
        let mut jobs: VecDeque<Job<'_>> = kernels.iter().copied().map(Job::Cases).collect();
        if self.case.is_empty() {
            let units = ["--workspace", "--exclude", "watchdog-ebpf"];
            add(&mut total, self.cargo_test("units", &units, &[])?);
            add(&mut total, fuzz_regression());
            if self.kernels.is_empty() {
                jobs.extend(ON_MACHINES.map(Job::Tests));
            }
        }
        add(&mut total, self.side_by_side(jobs));
        println!("\nall tests together, {:.0?}:", begun.elapsed());
        println!("{} passed, {} failed", total.passed, total.failed);
        if total.failed > 0 || total.passed == 0 {
            bail!("not every test passed");
        }
        Ok(())
    }

    /// Does jobs, as many at a time as there are processors: most of a machine's work is that of
    /// one processor.
    fn side_by_side(&self, jobs: VecDeque<Job<'_>>) -> Tally {
        let workers = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
        let (jobs, total) = (Mutex::new(jobs), Mutex::new(Tally::default()));
        let next = || jobs.lock().ok()?.pop_front();
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(job) = next() {
                        let tally = self.done(&job);
                        add(&mut total.lock().unwrap_or_else(PoisonError::into_inner), tally);
                    }
                });
            }
        });
        total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one job; one that does not come about is a failure.
    fn done(&self, job: &Job<'_>) -> Tally {
        let (what, done) = match job {
            Job::Cases(kernel) => {
                let [soak, races] = [self.soak, self.races].map(Duration::from_secs);
                let options = cases::Options { filter: self.case.clone(), soak, races };
                (format!("the machine with {kernel}"), cases::run(kernel, &options))
            }
            Job::Tests(name) => {
                let which = ["--package", "watchdog-tests", "--test", name];
                let how = ["--ignored", "--nocapture", "--test-threads=1"];
                ((*name).to_owned(), self.cargo_test(name, &which, &how))
            }
        };
        done.unwrap_or_else(|error| {
            println!("FAILED  {what}\n{error:#}\n");
            Tally { passed: 0, failed: 1 }
        })
    }

    /// Runs `cargo test` in the profile of the guests' programs, shows its output, and counts.
    fn cargo_test(&self, label: &str, which: &[&str], how: &[&str]) -> Result<Tally> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut test = Command::new(cargo)
            .current_dir(cache::project_root())
            .args(["test", "--release", "--no-fail-fast"])
            .args(which)
            .arg("--")
            .args(how)
            .env("WATCHDOG_DAMAGE", self.damage.to_string())
            .env("WATCHDOG_TOGGLES", self.toggles.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let output = test.stdout.take().context("cargo has no output")?;
        let mut tally = Tally::default();
        for line in BufReader::new(output).lines() {
            let line = line?;
            add(&mut tally, counts(&line).unwrap_or_default());
            writeln!(std::io::stdout(), "{label:<5} {line}")?;
        }
        // What does not compile has no result line, and must count.
        if !test.wait()?.success() && tally.failed == 0 {
            tally.failed = 1;
        }
        Ok(tally)
    }
}

/// The kernels that were asked for, else all.
pub(crate) fn chosen(kernels: &[String]) -> Vec<&str> {
    match kernels {
        [] => KERNELS.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    }
}

fn add(total: &mut Tally, more: Tally) {
    total.passed += more.passed;
    total.failed += more.failed;
}

/// The short run of the fuzz targets; one that does not come about is a failure.
fn fuzz_regression() -> Tally {
    fuzz::regression().unwrap_or_else(|error| {
        println!("FAILED  the fuzz targets\n{error:#}\n");
        Tally { passed: 0, failed: 1 }
    })
}

/// Reads `test result: ok. 7 passed; 0 failed; …`.
fn counts(line: &str) -> Option<Tally> {
    let numbers = line.strip_prefix("test result: ")?;
    let count = |what: &str| {
        let before = numbers.split(what).next()?;
        before.rsplit([' ', ';']).find(|word| !word.is_empty())?.parse().ok()
    };
    Some(Tally { passed: count(" passed")?, failed: count(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the harness's summary line is counted, and that no other line is.
    #[test]
    fn summary_lines() {
        let tally = counts("test result: FAILED. 49 passed; 2 failed; 8 ignored; 0 measured");
        assert!(matches!(tally, Some(Tally { passed: 49, failed: 2 })));
        assert!(counts("running 3 tests").is_none());
    }
}
