//! The cases: what the watchdog must do on a real machine, each of them caused for real.
//!
//! One boot of the machine serves all cases of a kernel, in the order given here; a case leaves
//! the machine as it found it. Cases in a row that want the same service share one start of it.

mod accounts;
mod adversary;
mod attempt;
mod booted;
mod devices;
mod disarming;
mod discovery;
mod door;
mod drivers;
mod guard;
mod hardware;
mod held;
mod leases;
mod paths;
mod races;
mod refusals;
mod sources;
mod stage;
mod sweeps;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use attempt::Attack;
pub use booted::strict_from_boot;
pub use discovery::{SERVICE_NODES, json_lines, located_from_outside, located_on_node0, on_host};
pub use door::{COMMAND_LINE as WITHOUT_LSM, denied_at_the_door};
pub use drivers::with_module;
pub use guard::configuration;
pub use leases::start_by_lease;
pub use sources::locked_down;
pub use stage::{Entry, Stage};

/// One case.
pub struct Case {
    /// Its name, by which it can be chosen.
    pub name: &'static str,
    run: Play,
    /// Whether it can begin with a service running that a case before it left.
    takes_over: bool,
}

/// Cases of one subject: names and what they do.
type List = &'static [(&'static str, Play)];
type Play = fn(&Stage) -> Result<()>;

/// How the cases are run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only cases whose name contains this.
    pub filter: String,
    /// How long a healthy machine is swept without a single alert.
    pub soak: Duration,
    /// How long the guard is raced against.
    pub races: Duration,
}

/// What came of cases or tests.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many held.
    pub passed: usize,
    /// Those that did not: where, which, and why, to be told once more at the end of a long log.
    pub failed: Vec<String>,
}

impl Tally {
    /// Tells of what did not hold, and counts it.
    pub fn fail(&mut self, what: &str, why: &str) {
        println!("FAILED  {what}\n{why}\n");
        self.failed.push(format!("{what}\n{why}"));
    }
}

/// All cases, in order.
#[must_use]
pub fn all() -> Vec<Case> {
    let lists = [
        (discovery::CASES, false),
        (sweeps::CASES, false),
        // Before the memory that node 0 frees is full of what many watchdogs copied of kernels.
        (sources::CASES, false),
        // Before a guard has looked at their memory: once memory is hot-added under a mapping of
        // /dev/mem, kernels to 6.12 keep the mapping's cache mode for ever, and refuse ioremap there.
        (drivers::CASES, false),
        (hardware::CASES, false),
        (devices::CASES, true),
        (paths::CASES, true),
        (accounts::CASES, true),
        (disarming::CASES, true),
        (held::CASES, true),
        (leases::CASES, true),
        (guard::CASES, true),
        (races::CASES, true),
        (paths::LAST, true),
        (refusals::CASES, false),
        (adversary::CASES, false),
        (leases::LAST, false),
        (disarming::LAST, false),
    ];
    let cases = lists.into_iter().flat_map(|(list, takes_over)| {
        list.iter().map(move |&(name, run)| Case { name, run, takes_over })
    });
    cases.collect()
}

/// Runs the cases on one machine, all of whose nodes run the kernel named. Tells each result.
///
/// # Errors
/// When the machine does not boot.
pub fn run(kernel: &str, options: &Options) -> Result<Tally> {
    let chosen: Vec<Case> =
        all().into_iter().filter(|case| case.name.contains(&options.filter)).collect();
    let mut tally = Tally::default();
    if chosen.is_empty() {
        return Ok(tally);
    }
    let begun = Instant::now();
    let stage = Stage::set(kernel, options)
        .with_context(|| format!("the machine with kernel {kernel} was not made ready"))?;
    println!("{kernel:<5} machine ready, {:.0?}", begun.elapsed());
    for case in chosen {
        let begun = Instant::now();
        let result = if case.takes_over { Ok(()) } else { stage.idle() }
            .and_then(|()| (case.run)(&stage))
            .and_then(|()| stage.machine().health().check());
        let name = case.name;
        match result {
            Ok(()) => {
                tally.passed += 1;
                println!("{kernel:<5} ok      {name}  ({:.1?})", begun.elapsed());
            }
            Err(error) => {
                let what = format!("{kernel:<5} {name}  ({:.1?})", begun.elapsed());
                tally.fail(&what, &format!("{error:#}"));
            }
        }
    }
    // Whether the last one's service ends well is for no case to say.
    if let Err(error) = stage.idle() {
        let what = format!("{kernel:<5} the end of the last case's service");
        tally.fail(&what, &format!("{error:#}"));
    }
    Ok(tally)
}
