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

/// Which kernels a case runs on, unless every case has to run on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Each kernel: what the case is about differs from one to the next.
    Each,
    /// One kernel: the case is about what the program does, more than about the kernel. Such cases
    /// take turns on the kernels. This is the number of the case among them.
    Turn(usize),
}

impl Kernels {
    /// Whether the case runs on the kernel with this number, of `count` kernels.
    #[must_use]
    pub fn include(self, kernel: usize, count: usize) -> bool {
        match self {
            Self::Each => true,
            Self::Turn(turn) => turn % count.max(1) == kernel,
        }
    }
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
    let on_each = vec![
        discovery::CASES,
        sweeps::CASES,
        sources::CASES,
        drivers::CASES,
        hardware::CASES,
        devices::CASES,
        paths::CASES,
        held::CASES,
        guard::CASES,
        races::CASES,
        adversary::CASES,
    ];
    let in_turn = vec![
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
        leases::CASES,
        robust::CASES,
        journald::CASES,
        refusals::CASES,
        sweeps::OF_THE_PROGRAM,
        sources::OF_THE_PROGRAM,
        robust::OF_THE_PROGRAM,
    ];
    let case = |&(name, start, play), kernels| Case { name, kernels, start, play };
    let each = on_each.into_iter().flatten().map(|it| case(it, Kernels::Each));
    let turns = in_turn.into_iter().flatten().enumerate();
    each.chain(turns.map(|(turn, it)| case(it, Kernels::Turn(turn)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a case that takes its turn runs on one kernel, and that all kernels get as many
    /// of these cases, but for one.
    #[test]
    fn kernels_take_turns() {
        for count in 1..5 {
            let mut cases_of = vec![0; count];
            for case in all().into_iter().filter(|case| case.kernels != Kernels::Each) {
                let on: Vec<usize> =
                    (0..count).filter(|kernel| case.kernels.include(*kernel, count)).collect();
                assert_eq!(on.len(), 1, "{}", case.name);
                cases_of[on[0]] += 1;
            }
            let (least, most) = (cases_of.iter().min(), cases_of.iter().max());
            assert!(*least.unwrap() > 0 && most.unwrap() - least.unwrap() <= 1, "{cases_of:?}");
        }
    }
}
