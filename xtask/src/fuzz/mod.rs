//! `cargo xtask fuzz`: hostile memory for everything that reads memory.

mod progress;
mod session;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use watchdog_tests::cases::Tally;

use self::session::{Outcome, Session};
use self::target::Target;
use crate::setup;

/// Inputs that `cargo xtask test` tries of each target beside the seeds, and seconds that may take.
const REGRESSION_RUNS: u64 = 20_000;
const REGRESSION_SECONDS: u64 = 4;

#[derive(Args)]
pub(crate) struct Options {
    /// Targets to run, named as their files in watchdog/fuzz/fuzz_targets; repeat for more
    /// [default: all].
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Seconds for which each target is run.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only the short run that is part of `cargo xtask test`.
    #[arg(long, conflicts_with_all = ["targets", "seconds"])]
    regression: bool,
    /// Fuzz nothing, but make seeds anew: of made-up kernels and dumps, and of the kernels in this
    /// raw image of a machine's memory.
    #[arg(long, value_name = "RAW_IMAGE", conflicts_with_all = ["targets", "seconds", "regression"])]
    seeds: Option<PathBuf>,
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        setup::ensure_tools()?;
        if self.regression {
            let tally = regression()?;
            println!("{} passed, {} failed", tally.passed, tally.failed.len());
            ensure!(tally.failed.is_empty(), "not every target passed");
            return Ok(());
        }
        let targets = target::chosen(&self.targets)?;
        target::build()?;
        if let Some(image) = &self.seeds {
            return make_seeds(image);
        }
        let time = format!("-max_total_time={}", self.seconds);
        let outcomes = run_all(&targets, |target, processes| {
            Session::new(target, processes).with_news().run(&target.corpus(), &[&time])
        })?;
        session::table(&outcomes);
        let findings: usize = outcomes.iter().map(|outcome| outcome.findings.len()).sum();
        ensure!(findings == 0, "findings: {findings}");
        Ok(())
    }
}

/// The short run that is part of `cargo xtask test`: every target over its seeds, and on from
/// there for some seconds. Each target counts as a test, and so does that seeds are what they are
/// called.
pub(crate) fn regression() -> Result<Tally> {
    let targets = target::chosen(&[])?;
    target::build()?;
    let runs = format!("-runs={REGRESSION_RUNS}");
    let time = format!("-max_total_time={REGRESSION_SECONDS}");
    let outcomes = run_all(&targets, |target, _| {
        let session = Session::new(target, 1);
        let replayed = session.replay()?;
        if !replayed.findings.is_empty() {
            return Ok(replayed);
        }
        let scratch = tempfile::tempdir()?;
        session.run(scratch.path(), &[&runs, &time, "-seed=1"])
    })?;
    session::table(&outcomes);
    let mut tally = Tally::default();
    match target::seeds(&["check".as_ref(), all_seeds().as_os_str()]) {
        Ok(_) => tally.passed += 1,
        Err(error) => tally.fail("the seeds", &format!("{error:#}")),
    }
    for outcome in outcomes {
        match outcome.findings.as_slice() {
            [] => tally.passed += 1,
            findings => tally.fail(&outcome.target, &format!("{findings:?}")),
        }
    }
    Ok(tally)
}

/// Makes the seeds that are made by program, and checks them.
fn make_seeds(image: &Path) -> Result<()> {
    let all = all_seeds();
    target::seeds(&["made-up".as_ref(), all.as_os_str()])?;
    target::seeds(&["cut".as_ref(), image.as_os_str(), all.join("locate").as_os_str()])?;
    target::seeds(&["check".as_ref(), all.as_os_str()])
}

fn all_seeds() -> PathBuf {
    target::directory().join("seeds")
}

/// Runs targets, as many at a time as there are processors; where there are fewer targets than
/// processors, several processes are to work on each.
fn run_all<F>(targets: &[Target], run: F) -> Result<Vec<Outcome>>
where
    F: Fn(&Target, usize) -> Result<Outcome> + Sync,
{
    let processors = thread::available_parallelism()?.get();
    let processes = (processors / targets.len()).max(1);
    let waiting = Mutex::new(targets.iter());
    let next = || waiting.lock().ok()?.next();
    let work = || std::iter::from_fn(next).map(|target| run(target, processes)).collect();
    let mut outcomes: Vec<Outcome> = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let done: Result<Vec<Outcome>> =
                worker.join().map_err(|_| anyhow!("a thread that runs targets died"))?;
            outcomes.extend(done?);
        }
        anyhow::Ok(())
    })?;
    outcomes.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(outcomes)
}
