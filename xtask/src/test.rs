//! `cargo xtask test`: every test, in one run with one summary.

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::Command;
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
    #[arg(long, default_value_t = 40)]
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
        println!("{} passed, {} failed", total.passed, total.failed.len());
        for failure in &total.failed {
            println!("FAILED  {failure}");
        }
        if !total.failed.is_empty() || total.passed == 0 {
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
        done.unwrap_or_else(|error| not_come_about(&what, &error))
    }

    /// Runs `cargo test` in the profile of the guests' programs, shows its output, and counts.
    fn cargo_test(&self, label: &str, which: &[&str], how: &[&str]) -> Result<Tally> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let (lines, output) = std::io::pipe()?;
        let mut test = Command::new(cargo)
            .current_dir(cache::project_root())
            .args(["test", "--release", "--no-fail-fast"])
            .args(which)
            .arg("--")
            .args(how)
            // What failed is told in a few lines.
            .envs([("RUST_BACKTRACE", "0"), ("RUST_LIB_BACKTRACE", "0")])
            .env("WATCHDOG_DAMAGE", self.damage.to_string())
            .env("WATCHDOG_TOGGLES", self.toggles.to_string())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start cargo")?;
        let mut harness = Harness::default();
        for line in BufReader::new(lines).lines() {
            let line = line?;
            writeln!(std::io::stdout(), "{label:<5} {line}")?;
            harness.read(line);
        }
        let mut tally = harness.tally;
        // What does not compile has no result line, and must count.
        if !test.wait()?.success() && tally.failed.is_empty() {
            tally.failed.push("it was not built, or did not end by itself".to_owned());
        }
        for failure in &mut tally.failed {
            failure.insert_str(0, &format!("{label:<5} "));
        }
        Ok(tally)
    }
}

/// What the test harness prints, read line by line.
#[derive(Default)]
struct Harness {
    tally: Tally,
    /// The test that was begun last, and what was printed since.
    test: String,
    since: VecDeque<String>,
}

impl Harness {
    /// Lines that are kept of what a test printed before it failed.
    const KEPT: usize = 20;

    fn read(&mut self, line: String) {
        if let Some(passed) = passed(&line) {
            self.tally.passed += passed;
            return;
        }
        let begun = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        if let Some((test, _)) = begun {
            test.clone_into(&mut self.test);
            self.since.clear();
        }
        if line == "FAILED" || (begun.is_some() && line.ends_with("FAILED")) {
            let since: Vec<String> = self.since.drain(..).collect();
            self.tally.failed.push(format!("{}\n{}", self.test, since.join("\n")));
        } else {
            self.since.push_back(line);
            while self.since.len() > Self::KEPT {
                self.since.pop_front();
            }
        }
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
    total.failed.extend(more.failed);
}

/// The short run of the fuzz targets; one that does not come about is a failure.
fn fuzz_regression() -> Tally {
    fuzz::regression().unwrap_or_else(|error| not_come_about("the fuzz targets", &error))
}

/// The tally of tests that could not be made.
fn not_come_about(what: &str, error: &anyhow::Error) -> Tally {
    let mut tally = Tally::default();
    tally.fail(what, &format!("{error:#}"));
    tally
}

/// Reads `test result: ok. 7 passed; 0 failed; …`.
fn passed(line: &str) -> Option<usize> {
    let (before, _) = line.strip_prefix("test result: ")?.split_once(" passed")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that what failed is told with what it printed, in both of the harness's manners, and
    /// that summary lines are counted.
    #[test]
    fn harness_lines() {
        let mut harness = Harness::default();
        for line in [
            "test one ... ok",
            "test two ... booting",
            "Error: it did not boot",
            "FAILED",
            "test three ... FAILED",
            "test result: FAILED. 49 passed; 2 failed; 8 ignored; 0 measured",
        ] {
            harness.read(line.to_owned());
        }
        let failed = ["two\ntest two ... booting\nError: it did not boot", "three\n"];
        assert_eq!(harness.tally.failed, failed);
        assert_eq!(harness.tally.passed, 49);
    }
}
