//! `cargo xtask fuzz`: gives hostile memory to all code that reads memory.

mod progress;
mod session;
mod target;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::{Result, anyhow, bail, ensure};
use xtask::options;

use self::session::{Outcome, Session};
pub(crate) use self::target::Target;
use crate::setup::{self, Needs};
use crate::steps::{Steps, Workspace};

/// The limits of `cargo xtask test` for inputs of each target besides the seeds: their number, and
/// seconds.
const REGRESSION_RUNS: u64 = 20_000;
const REGRESSION_SECONDS: u64 = 4;

pub(crate) fn run(steps: &Steps, options: &options::Fuzz) -> Result<()> {
    let targets = target::chosen(&options.targets)?;
    let needs = Needs { fuzzing: true, ..Needs::default() };
    steps.watch(|| {
        setup::ensure(steps, needs, || Ok(()))?;
        target::build(steps)
    })?;
    steps.summary();
    if let Some(image) = &options.seeds {
        return make_seeds(image);
    }
    let time = format!("-max_total_time={}", options.seconds);
    let outcomes = run_all(&targets, |target, processes| {
        Session::new(target, processes).with_news().run(&target.corpus(), &[&time])
    })?;
    session::table(&outcomes);
    let findings: usize = outcomes.iter().map(|outcome| outcome.findings.len()).sum();
    ensure!(findings == 0, "findings: {findings}");
    Ok(())
}

/// All targets.
pub(crate) fn targets() -> Result<Vec<Target>> {
    target::chosen(&[])
}

/// Builds all targets.
pub(crate) fn build(steps: &Steps) -> Result<()> {
    target::build(steps)
}

/// Runs a target for `cargo xtask test`: every seed once, and unless `quick` also new inputs for
/// some seconds.
pub(crate) fn regression(target: &Target, quick: bool) -> Result<String> {
    let runs = format!("-runs={REGRESSION_RUNS}");
    let time = format!("-max_total_time={REGRESSION_SECONDS}");
    let session = Session::new(target, 1);
    let mut outcome = session.replay()?;
    if outcome.findings.is_empty() && !quick {
        let scratch = Workspace::new(&format!("fuzz-{}", target.name))?;
        outcome = session.run(scratch.path(), &[&runs, &time, "-seed=1"])?;
    }
    match outcome.findings.as_slice() {
        [] => Ok(outcome.to_string()),
        findings => bail!("{}", findings.join("\n")),
    }
}

/// Checks that the seeds match their names. Returns how many there are.
pub(crate) fn check_seeds() -> Result<String> {
    target::seeds(&[OsStr::new("check"), all_seeds().as_os_str()])
}

/// Makes the generated seeds, and checks all seeds.
fn make_seeds(image: &Path) -> Result<()> {
    let all = all_seeds();
    target::seeds(&["made-up".as_ref(), all.as_os_str()])?;
    target::seeds(&["cut".as_ref(), image.as_os_str(), all.join("locate").as_os_str()])?;
    print!("{}", target::seeds(&["check".as_ref(), all.as_os_str()])?);
    Ok(())
}

fn all_seeds() -> PathBuf {
    target::directory().join("seeds")
}

/// Runs as many targets at a time as there are processors. If there are fewer targets than
/// processors, several processes run each target.
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
                worker.join().map_err(|_| anyhow!("a fuzzing thread died"))?;
            outcomes.extend(done?);
        }
        anyhow::Ok(())
    })?;
    outcomes.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(outcomes)
}
