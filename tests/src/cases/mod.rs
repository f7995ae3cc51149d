//! The cases: what the watchdog must do on a real machine. Each case causes the event that it
//! checks.
//!
//! Each case has its own machine, restored from a snapshot as its [`Start`] says. A case finds
//! nothing that another case left, and does not have to clean up.

mod accounts;
mod acts;
mod adversary;
mod attempt;
mod booted;
mod devices;
mod disarming;
mod discovery;
mod door;
mod drivers;
mod guard;
mod guard_life;
mod hardware;
mod held;
mod journal;
mod journald;
mod leases;
mod odd;
mod paths;
mod races;
mod refusals;
mod robust;
mod siege;
mod snapshots;
mod sources;
mod stage;
mod sweeps;

use std::time::Duration;

use anyhow::Result;

pub use attempt::Attack;
pub use booted::strict_from_boot;
pub use discovery::{SERVICE_NODES, json_lines, located_from_outside, located_on_node0, on_host};
pub use door::{COMMAND_LINE as WITHOUT_LSM, denied_at_the_door};
pub use drivers::with_module;
pub use guard::{TRAMPOLINE, configuration};
pub use journal::Entry;
pub use leases::{LEASE, start_by_lease};
pub use odd::{STRICT_IOMEM, claimed_and_unreadable, on_an_odd_node0};
pub use snapshots::Start;
pub use sources::locked_down;
pub use stage::Stage;

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    /// The name, by which the case can be selected.
    pub name: &'static str,
    /// The kernels that the case runs on.
    pub kernels: Kernels,
    start: Start,
    play: Play,
}

/// Which kernels a case runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Every kernel: the result depends on the kernel.
    Each,
    /// One kernel: the case is about the program alone.
    One,
}

/// Cases of one subject: name, start state and test function of each.
type List = &'static [(&'static str, Start, Play)];
type Play = fn(&Stage) -> Result<()>;

/// How long the cases run that have no end of their own.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a healthy machine is swept without a single alert.
    pub soak: Duration,
    /// How long threads race against the guard.
    pub races: Duration,
}

impl Times {
    /// Reads the environment, in seconds: `WATCHDOG_SOAK` and `WATCHDOG_RACES`.
    ///
    /// # Errors
    /// When one of them is not a number.
    pub fn from_environment() -> Result<Self> {
        let seconds = |name, default: u64| -> Result<Duration> {
            let value = std::env::var(name).map_or(Ok(default), |value| value.parse())?;
            Ok(Duration::from_secs(value))
        };
        Ok(Self { soak: seconds("WATCHDOG_SOAK", 10)?, races: seconds("WATCHDOG_RACES", 5)? })
    }
}

impl Case {
    /// Runs the case on a machine of its own, on which every node runs this kernel.
    ///
    /// # Errors
    /// When a check fails, or the machine cannot be made.
    pub fn play(&self, kernel: &str) -> Result<()> {
        let stage = Stage::set(kernel, self.start)?;
        (self.play)(&stage)?;
        stage.machine().health().check()
    }
}

/// All cases.
#[must_use]
pub fn all() -> Vec<Case> {
    let on_each = [
        discovery::CASES,
        sweeps::CASES,
        sources::CASES,
        drivers::CASES,
        hardware::CASES,
        devices::CASES,
        paths::CASES,
        accounts::CASES,
        disarming::CASES,
        guard_life::CASES,
        siege::programs::CASES,
        siege::mounts::CASES,
        siege::debian::CASES,
        siege::holders::CASES,
        siege::starving::CASES,
        siege::processors::CASES,
        siege::memory::CASES,
        siege::service::CASES,
        siege::trusted::CASES,
        held::CASES,
        leases::CASES,
        guard::CASES,
        races::CASES,
        robust::CASES,
        journald::CASES,
        adversary::CASES,
    ];
    let on_one =
        [sweeps::OF_THE_PROGRAM, sources::OF_THE_PROGRAM, refusals::CASES, robust::OF_THE_PROGRAM];
    let on = |lists: Vec<List>, kernels| {
        let cases = lists.into_iter().flatten();
        cases.map(move |&(name, start, play)| Case { name, kernels, start, play })
    };
    on(on_each.into(), Kernels::Each).chain(on(on_one.into(), Kernels::One)).collect()
}
