//! The plan of a run: the test programs that were built, and the tests in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use xtask::{cache, kernels, options};

use super::job::{Job, Work};
use crate::build::TestProgram;
use crate::fuzz;
use crate::steps::ask;

/// The program whose tests are the cases, each named `KERNEL CASE`.
const CASES: &str = "cases";
/// The one that `--quick` boots.
pub(super) const QUICK_KERNEL: &str = "6.1";
/// Programs whose tests only read the memory of one machine and share the findings. All tests of
/// such a program run in one process.
const TOGETHER: [&str; 1] = ["judgement"];
/// Programs with one test for each kernel. Where cases take turns, only the test of the stable
/// kernel runs.
const OF_ONE_KERNEL: [&str; 1] = ["instructions"];
/// The start of the names of tests, or of whole programs of tests, on kernels of one's own
/// configuration. `--own-kernels` asks for them.
const ON_OWN_KERNELS: &str = "own_";
/// The cases that `--quick` runs: the main functions of the watchdog.
const QUICK: [&str; 4] = ["6.1 locate: ", "6.1 run: armed", "6.1 scan: ", "6.1 guard: "];

/// Whether the run includes the jobs that need no machine.
pub(super) fn is_whole(options: &options::Test) -> bool {
    options.filter.is_empty() && options.kernels.is_empty()
}

/// Whether every case runs on each kernel. Only in a whole run, cases take turns.
fn is_every_kernel(options: &options::Test) -> bool {
    options.every_kernel || options.again || !is_whole(options)
}

/// The file with the names of the failed tests.
pub(super) fn failed_file() -> PathBuf {
    cache::directory().join("test-failed")
}

/// All jobs of a run.
pub(super) fn jobs(options: &options::Test, programs: &[TestProgram]) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    if is_whole(options) {
        jobs.extend(programs.iter().filter(|it| !it.is_harnessed_alone()).map(units));
        if !options.quick {
            jobs.push(job("examples", "units", Work::Examples));
        }
        for target in fuzz::targets()? {
            let name = format!("fuzz {}", target.name);
            jobs.push(job(&name, "fuzz", Work::Fuzz { target, quick: options.quick }));
        }
        jobs.push(job("fuzz seeds", "fuzz", Work::Seeds));
    }
    let environment = environment(options);
    for program in programs {
        jobs.extend(on_machines(program, &environment)?.into_iter().filter(|job| {
            // A test of several kernels does not run if the user selected kernels.
            let is_case = job.group.starts_with(CASES);
            let is_quick = QUICK.iter().any(|start| job.name.starts_with(start));
            let is_own = job.name.split(' ').any(|word| word.starts_with(ON_OWN_KERNELS));
            let is_other_kernel = OF_ONE_KERNEL.contains(&program.name.as_str())
                && !job.name.ends_with(&format!("_{}", kernels::STABLE.replace('.', "_")));
            job.name.contains(&options.filter)
                && (is_every_kernel(options) || !is_other_kernel)
                && (options.own_kernels || !is_own)
                && (options.kernels.is_empty() || is_case)
                && (!options.quick || is_quick)
        }));
    }
    if options.again {
        let failed = fs::read_to_string(failed_file()).unwrap_or_default();
        jobs.retain(|job| failed.lines().any(|name| name == job.name));
    }
    Ok(jobs)
}

fn job(name: &str, group: &str, work: Work) -> Job {
    Job { name: name.to_owned(), group: group.to_owned(), work }
}

/// The tests of a program that need only the program.
fn units(program: &TestProgram) -> Job {
    let work = Work::Harness {
        program: program.file.clone(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    job(&format!("units of {}", program.name), "units", work)
}

/// The tests of a program that need machines or kernels. `cargo test` ignores them.
fn on_machines(program: &TestProgram, environment: &[(&'static str, String)]) -> Result<Vec<Job>> {
    let mut list = Command::new(&program.file);
    list.args(["--list", "--ignored"]).envs(environment.iter().map(|(name, value)| (name, value)));
    let listed = ask(&mut list)?;
    let harness = |arguments: &[&str]| Work::Harness {
        program: program.file.clone(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        environment: environment.to_vec(),
    };
    if TOGETHER.contains(&program.name.as_str()) {
        let work = harness(&["--ignored", "--nocapture", "--test-threads=1"]);
        return Ok(vec![job(&program.name, &program.name, work)]);
    }
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let jobs = names.map(|test| {
        let work = harness(&["--ignored", "--nocapture", "--exact", test]);
        match program.name.as_str() {
            CASES => {
                let kernel = test.split(' ').next().unwrap_or_default();
                job(test, &format!("{CASES} {kernel}"), work)
            }
            name => job(&format!("{name} {test}"), name, work),
        }
    });
    Ok(jobs.collect())
}

/// The environment variables that pass the options to the tests.
fn environment(options: &options::Test) -> Vec<(&'static str, String)> {
    let kernels = match options.kernels.as_slice() {
        [] => kernels::VERSIONS.join(","),
        some => some.join(","),
    };
    vec![
        ("WATCHDOG_KERNELS", kernels),
        ("WATCHDOG_EVERY_KERNEL", is_every_kernel(options).to_string()),
        ("WATCHDOG_SOAK", options.soak.to_string()),
        ("WATCHDOG_RACES", options.races.to_string()),
        ("WATCHDOG_DAMAGE", options.damage.to_string()),
        ("WATCHDOG_TOGGLES", options.toggles.to_string()),
        ("WATCHDOG_PROCESSORS", options.processors.clone()),
    ]
}

impl TestProgram {
    /// Whether the program has no unit tests.
    fn is_harnessed_alone(&self) -> bool {
        self.name == CASES || !self.has_units(&self.file)
    }

    fn has_units(&self, file: &Path) -> bool {
        let listed = ask(Command::new(file).arg("--list")).unwrap_or_default();
        let ignored = ask(Command::new(file).args(["--list", "--ignored"])).unwrap_or_default();
        let tests = |text: &str| text.lines().filter(|line| line.ends_with(": test")).count();
        tests(&listed) > tests(&ignored)
    }
}
