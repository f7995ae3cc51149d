//! `cargo xtask test`: runs every test, with one summary.
//!
//! A test that needs a machine, a kernel or much time is a separate process, so such tests share
//! only the processors. The tests that took longest last time begin first, unless they would wait
//! for something that another test makes.

mod job;
mod plan;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use xtask::own_kernels::OWN_KERNELS;
use xtask::{cache, options};

use self::job::{Job, Outcome};
use crate::build;
use crate::fuzz;
use crate::setup::{self, Needs};
use crate::steps::Steps;

/// The assumed time of a case that never ran, in seconds.
const UNKNOWN: f32 = 20.0;
/// The assumed time of any other test. Tests that boot their own machines take longest.
const UNKNOWN_OTHER: f32 = 100.0;
/// The longest time without a line of output.
const SILENCE: Duration = Duration::from_secs(15);

pub(crate) fn run(steps: &Steps, options: &options::Test) -> Result<()> {
    let quick = [plan::QUICK_KERNEL];
    let all = options::chosen(&options.kernels);
    let kernels = if options.quick { quick.as_slice() } else { all.as_slice() };
    let whole = plan::is_whole(options);
    let needs = Needs { fuzzing: whole, machine: Some(kernels), refresh: false };
    let mut programs = Vec::new();
    steps.watch(|| {
        if options.own_kernels {
            setup::own_kernels(steps, &OWN_KERNELS, false)?;
        }
        setup::ensure(steps, needs, || {
            build::programs(steps)?;
            programs = build::tests(steps)?;
            Ok(())
        })?;
        if whole { fuzz::build(steps) } else { Ok(()) }
    })?;
    steps.summary();

    let begun = Instant::now();
    let mut jobs = plan::jobs(options, &programs)?;
    ensure!(!jobs.is_empty(), "no test has this name");
    let times = Times::read();
    jobs.sort_by(|one, other| times.of(other).total_cmp(&times.of(one)));
    let outcomes = side_by_side(jobs, times);
    report::print(&outcomes, begun.elapsed());
    let failed: Vec<&str> =
        outcomes.iter().filter(|it| it.failure.is_some()).map(|it| it.name.as_str()).collect();
    // Without this list, `--again` runs nothing.
    let _unwritten = fs::write(plan::failed_file(), failed.join("\n"));
    if !failed.is_empty() {
        bail!("some tests failed; `cargo xtask test --again` runs those that failed");
    }
    Ok(())
}

/// Runs one more job at a time than there are processors. A machine mostly uses one processor, and
/// while it waits, another job can use that processor.
fn side_by_side(jobs: Vec<Job>, times: Times) -> Vec<Outcome> {
    let all = jobs.len();
    let workers = thread::available_parallelism().map_or(1, usize::from).saturating_add(1).min(all);
    let progress = Mutex::new(Progress::new(jobs, times));
    let progress = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let work = || {
            // This is not in the condition of the loop, because that would hold the lock while the
            // job runs.
            let next = || progress().begin();
            while let Some(job) = next() {
                let outcome = job.run();
                progress().ended(outcome);
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(100));
            progress().say_what_runs();
        }
    });
    std::mem::take(&mut progress().outcomes)
}

/// A job that has begun.
struct Running {
    name: String,
    group: String,
    since: Instant,
}

/// The jobs that wait, the jobs that run, and the results of the others.
struct Progress {
    all: usize,
    left: Vec<Job>,
    times: Times,
    running: Vec<Running>,
    outcomes: Vec<Outcome>,
    said: Instant,
}

impl Progress {
    fn new(left: Vec<Job>, times: Times) -> Self {
        let (running, outcomes) = (Vec::new(), Vec::new());
        Self { all: left.len(), left, times, running, outcomes, said: Instant::now() }
    }

    /// The next job: the first whose group has no running job, else the first. Tests of a group
    /// need the same machines, and while one test makes these, the others would wait.
    fn begin(&mut self) -> Option<Job> {
        let is_other = |job: &Job| self.running.iter().all(|running| running.group != job.group);
        let next = self.left.iter().position(is_other).unwrap_or_default();
        let job = (next < self.left.len()).then(|| self.left.remove(next))?;
        let (name, group) = (job.name.clone(), job.group.clone());
        self.running.push(Running { name, group, since: Instant::now() });
        Some(job)
    }

    fn ended(&mut self, outcome: Outcome) {
        self.running.retain(|running| running.name != outcome.name);
        report::line(&outcome, self.outcomes.len() + 1, self.all);
        self.times.add(&outcome);
        self.outcomes.push(outcome);
        self.said = Instant::now();
    }

    /// Prints the running jobs if nothing was printed for some time.
    fn say_what_runs(&mut self) {
        if self.said.elapsed() > SILENCE {
            self.said = Instant::now();
            for Running { name, since, .. } in &self.running {
                println!("           …    {:>6.1} s  {name}", since.elapsed().as_secs_f32());
            }
        }
    }
}

/// How long tests took, by name, in seconds. This only affects the order in which they begin.
struct Times(BTreeMap<String, f32>);

impl Times {
    fn file() -> PathBuf {
        cache::directory().join("test-times")
    }

    fn read() -> Self {
        let text = fs::read_to_string(Self::file()).unwrap_or_default();
        let parsed = text.lines().filter_map(|line| {
            let (time, name) = line.split_once('\t')?;
            Some((name.to_owned(), time.parse().ok()?))
        });
        Self(parsed.collect())
    }

    fn of(&self, job: &Job) -> f32 {
        let unknown = if job.group.starts_with("cases") { UNKNOWN } else { UNKNOWN_OTHER };
        self.0.get(&job.name).copied().unwrap_or(unknown)
    }

    /// Adds the time of a test. Writes it at once, so that the next run has it even if this one is
    /// aborted.
    fn add(&mut self, outcome: &Outcome) {
        self.0.insert(outcome.name.clone(), outcome.took.as_secs_f32());
        let lines: Vec<_> = self.0.iter().map(|(name, time)| format!("{time}\t{name}")).collect();
        // Without the times, the next run takes longer.
        let _unwritten = fs::write(Self::file(), lines.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a job whose group has no running job comes first, and that all jobs get their
    /// turn. Check that a job that ended frees its group.
    #[test]
    fn groups_take_turns() {
        let job = |name: &str, group: &str| job::Job {
            name: name.to_owned(),
            group: group.to_owned(),
            work: job::Work::Seeds,
        };
        let jobs = vec![job("1", "a"), job("2", "a"), job("3", "b"), job("4", "a"), job("5", "b")];
        let mut progress = Progress::new(jobs, Times(BTreeMap::new()));
        let mut next = || progress.begin().map(|job| job.name);
        assert_eq!([next(), next(), next()].map(Option::unwrap_or_default), ["1", "3", "2"]);
        progress.running.retain(|running| running.group == "a");
        let mut next = || progress.begin().map(|job| job.name);
        assert_eq!([next(), next()].map(Option::unwrap_or_default), ["5", "4"]);
        assert!(next().is_none());
    }
}
