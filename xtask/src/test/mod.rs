//! `cargo xtask test`: every test, in one run with one summary.
//!
//! A test that needs a machine, a kernel or much time is a process of its own, so that two of them
//! share nothing but the processors. Those that took longest last time begin first.

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
use xtask::{cache, options};

use self::job::{Job, Outcome};
use crate::build;
use crate::fuzz;
use crate::setup::{self, Needs};
use crate::steps::Steps;

/// What a test that was never run is taken to need.
const UNKNOWN: f32 = 20.0;
/// The longest that nothing is said.
const SILENCE: Duration = Duration::from_secs(15);

pub(crate) fn run(steps: &Steps, options: &options::Test) -> Result<()> {
    let quick = [plan::QUICK_KERNEL];
    let all = options::chosen(&options.kernels);
    let kernels = if options.quick { quick.as_slice() } else { all.as_slice() };
    let whole = plan::is_whole(options);
    let needs = Needs { fuzzing: whole, machine: Some(kernels), refresh: false };
    let mut programs = Vec::new();
    steps.watch(|| {
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
    ensure!(!jobs.is_empty(), "there is no test of that name");
    let times = Times::read();
    jobs.sort_by(|one, other| times.of(other).total_cmp(&times.of(one)));
    let outcomes = side_by_side(jobs, times);
    report::print(&outcomes, begun.elapsed());
    let failed: Vec<&str> =
        outcomes.iter().filter(|it| it.failure.is_some()).map(|it| it.name.as_str()).collect();
    // Without the list there is nothing to do again.
    let _unwritten = fs::write(plan::failed_file(), failed.join("\n"));
    if !failed.is_empty() {
        bail!("not every test passed; `cargo xtask test --again` runs those that failed");
    }
    Ok(())
}

/// Does jobs, one more at a time than there are processors: most of a machine's work is that of one
/// processor, and while it waits for something another one has work to do.
fn side_by_side(jobs: Vec<Job>, times: Times) -> Vec<Outcome> {
    let all = jobs.len();
    let workers = thread::available_parallelism().map_or(1, usize::from).saturating_add(1).min(all);
    let (jobs, progress) = (Mutex::new(jobs.into_iter()), Mutex::new(Progress::new(all, times)));
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let progress = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let work = || {
            while let Some(job) = next() {
                progress().begins(&job);
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

/// What runs, and what came of the rest.
struct Progress {
    all: usize,
    times: Times,
    running: Vec<(String, Instant)>,
    outcomes: Vec<Outcome>,
    said: Instant,
}

impl Progress {
    fn new(all: usize, times: Times) -> Self {
        Self { all, times, running: Vec::new(), outcomes: Vec::new(), said: Instant::now() }
    }

    fn begins(&mut self, job: &Job) {
        self.running.push((job.name.clone(), Instant::now()));
    }

    fn ended(&mut self, outcome: Outcome) {
        self.running.retain(|(name, _)| *name != outcome.name);
        report::line(&outcome, self.outcomes.len() + 1, self.all);
        self.times.add(&outcome);
        self.outcomes.push(outcome);
        self.said = Instant::now();
    }

    /// Says what runs where nothing else was said for some time.
    fn say_what_runs(&mut self) {
        if self.said.elapsed() > SILENCE {
            self.said = Instant::now();
            for (name, begun) in &self.running {
                println!("           …    {:>6.1} s  {name}", begun.elapsed().as_secs_f32());
            }
        }
    }
}

/// How long tests took, by name, in seconds: only for the order in which they begin.
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
        self.0.get(&job.name).copied().unwrap_or(UNKNOWN)
    }

    /// Keeps it at once, for the next run also where this one is broken off.
    fn add(&mut self, outcome: &Outcome) {
        self.0.insert(outcome.name.clone(), outcome.took.as_secs_f32());
        let lines: Vec<_> = self.0.iter().map(|(name, time)| format!("{time}\t{name}")).collect();
        // Without them the next run is less well packed.
        let _unwritten = fs::write(Self::file(), lines.join("\n"));
    }
}
