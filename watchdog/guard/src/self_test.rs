//! The self-test: tests each path, and assumes nothing.
//!
//! A BPF LSM program attaches without error where it never fires. One write to
//! `kernel.ftrace_enabled` turns all of them off without detaching them. So a path counts as denied
//! only if the attempt failed with EPERM *and* the program counted it.
//!
//! The kernel skips a program at a function if a preempted thread is inside it on the same
//! processor (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, 6.1 to 7.2). Then the values that
//! the program saves are missing, and the attempt is denied without being recognized as one on the
//! canary page. So the self-test repeats an attempt whose result is not as expected before it
//! reports anything. If any forbidden attempt succeeded, the guard is off, and the self-test
//! repeats no more attempts.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use aya::maps::{Array, MapData};
use watchdog_common::DmaDevices;

use super::attempt::WriteAttempt;
use super::canary::Canary;
use super::coverage::{Coverage, CoverageRow};
use super::foreign::Foreign;
use super::frames::Frames;
use super::outcome::Outcome;
use super::paths::TestContext;
use super::record::Record;
use super::self_protection::SelfProbes;
use super::stale_access::{StaleAccessSearch, StaleAccessWatch};
use super::{Policies, Policy, WritePath, dma_devices};

/// The first and the last wait before an attempt is repeated. Each wait is twice as long as the one
/// before.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LAST_WAIT: Duration = Duration::from_millis(256);

/// The self-test of one guard.
pub(super) struct SelfTest {
    /// `None` if `/dev/mem` can no longer be opened.
    pub(super) canary: Option<Canary>,
    pub(super) probes_seen: Array<MapData, u64>,
    pub(super) policies: Policies,
    /// Paths for which this kernel has no hook, each with the reason.
    pub(super) lacking: BTreeMap<WritePath, String>,
    /// Devices of an IOMMU that the programs know; `None` if this process does not know which these
    /// are.
    pub(super) dma_devices: Option<DmaDevices>,
    pub(super) foreign: Foreign,
    pub(super) self_probes: SelfProbes,
    pub(super) stale_access: StaleAccessWatch,
    /// Whether failed attempts are repeated: until a forbidden attempt succeeds.
    pub(super) waits: Cell<bool>,
}

/// Access to the guard that is tested, beside its record. The process that armed the guard has the
/// objects themselves. Another process opens their pins.
pub(super) struct Handles {
    /// `None` if `/dev/mem` can no longer be opened.
    pub(super) canary: Option<Canary>,
    /// The table in which the programs count probes.
    pub(super) probes_seen: Array<MapData, u64>,
    /// The canary's pin, which the guard lets no process open.
    pub(super) pin: PathBuf,
    /// The list of guarded frames that processes have mapped, or why it is missing.
    pub(super) frames: Result<Frames, String>,
    pub(super) foreign: Foreign,
    /// Devices of an IOMMU that the programs know; `None` if this process does not know which these
    /// are.
    pub(super) dma_devices: Option<DmaDevices>,
}

impl SelfTest {
    /// The self-test of the guard with this record. `lacking`: paths for which this kernel has no
    /// hook, each with the reason. `has_lsm`: whether LSM programs fire.
    pub(super) fn new(
        record: &Record,
        lacking: BTreeMap<WritePath, String>,
        has_lsm: bool,
        guard: Handles,
    ) -> Self {
        let policies = record.policies();
        let search = StaleAccessSearch::new(
            guard.frames,
            &policies,
            has_lsm,
            guard.dma_devices.unwrap_or_else(dma_devices::of_this_kernel),
            record.processors.clone(),
        );
        let stale_access = StaleAccessWatch::new(search, policies.get(WritePath::Held), record.pid);
        let program = record.programs.first().copied().unwrap_or_default();
        Self {
            canary: guard.canary,
            probes_seen: guard.probes_seen,
            policies,
            lacking,
            dma_devices: guard.dma_devices,
            foreign: guard.foreign,
            self_probes: SelfProbes { pin: guard.pin, program, watchdog: record.pid },
            stale_access,
            waits: Cell::default(),
        }
    }

    /// Tests every path.
    pub(super) fn run(&mut self) -> Coverage {
        self.waits.set(true);
        let stale_access = self.stale_access.outcome(self.canary.as_ref());
        Coverage::of(WritePath::ALL.map(|path| self.test_path(path, &stale_access)))
    }

    /// Applies the policy to stale access. Returns one attempt for each process that had some.
    pub(super) fn end_stale_access(&mut self) -> Vec<WriteAttempt> {
        self.stale_access.end(self.canary.as_ref())
    }

    fn test_path(&self, path: WritePath, stale_access: &Outcome) -> CoverageRow {
        let policy = self.policies.get(path);
        let outcome = match self.lacking.get(&path) {
            _ if policy == Policy::Off => Outcome::Off,
            Some(why) => Outcome::Missing(why.clone()),
            None => path.test(&PathTest { self_test: self, path, policy, stale_access }),
        };
        CoverageRow::of(path, policy, outcome)
    }

    /// Makes an attempt, and repeats it until the guard does with it what `policy` says.
    fn attempt(
        &self,
        path: WritePath,
        policy: Policy,
        act: &dyn Fn() -> io::Result<()>,
    ) -> Outcome {
        let count = || self.probes_seen.get(&path.number(), 0).ok();
        // On a path that can only be killed or observed, the attempt itself succeeds.
        let must_fail = policy >= Policy::Deny && path.allows(Policy::Deny).is_ok();
        let mut wait = FIRST_WAIT;
        loop {
            let before = count();
            let result = act();
            let outcome = judge_probe(&result, count() != before, must_fail);
            if must_fail && result.is_ok() {
                self.waits.set(false);
            }
            if outcome == Outcome::Seen || !self.waits.get() || wait > LAST_WAIT {
                return outcome;
            }
            thread::sleep(wait);
            wait *= 2;
        }
    }
}

/// The test of one path.
struct PathTest<'a> {
    self_test: &'a SelfTest,
    path: WritePath,
    policy: Policy,
    stale_access: &'a Outcome,
}

impl TestContext for PathTest<'_> {
    fn attempt(&self, act: &dyn Fn() -> io::Result<()>) -> Outcome {
        self.self_test.attempt(self.path, self.policy, act)
    }

    fn attempt_refused(&self, act: &dyn Fn() -> io::Result<()>) -> Outcome {
        self.self_test.attempt(self.path, Policy::Deny, act)
    }

    fn attempt_on_canary(&self, act: fn(&Canary) -> io::Result<()>) -> Outcome {
        match &self.self_test.canary {
            Some(canary) => self.attempt(&|| act(canary)),
            None => Outcome::NotTried("/dev/mem can no longer be opened for writing"),
        }
    }

    fn is_read_only(&self) -> bool {
        self.self_test.canary.as_ref().is_some_and(|canary| !canary.is_writable)
    }

    fn policy(&self) -> Policy {
        self.policy
    }

    fn denies_every_kexec(&self) -> bool {
        self.self_test.policies.get(WritePath::Kexec) >= Policy::Deny
    }

    fn stale_access(&self) -> Outcome {
        self.stale_access.clone()
    }

    fn dma_devices(&self) -> Option<&DmaDevices> {
        self.self_test.dma_devices.as_ref()
    }

    fn foreign(&self) -> &Foreign {
        &self.self_test.foreign
    }

    fn self_probes(&self) -> &SelfProbes {
        &self.self_test.self_probes
    }
}

/// The meaning of an attempt's result. `counted`: whether the program counted the attempt.
fn judge_probe(result: &io::Result<()>, counted: bool, must_fail: bool) -> Outcome {
    let is_denied = matches!(result, Err(error) if error.raw_os_error() == Some(libc::EPERM));
    if counted && (is_denied || !must_fail) {
        return Outcome::Seen;
    }
    Outcome::Missing(match result {
        Ok(()) if counted => "the program denied it, but it succeeded".to_owned(),
        Ok(()) => "it succeeded: the program did not run".to_owned(),
        Err(error) => format!("it failed ({error}), but not because of the guard"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that only an EPERM that the program counted is a denial. Another module's EPERM,
    /// another error and a success are not. Check that an attempt which is only observed need not
    /// fail.
    #[test]
    fn what_counts() {
        let failure = |errno| Err(io::Error::from_raw_os_error(errno));
        assert_eq!(judge_probe(&failure(libc::EPERM), true, true), Outcome::Seen);
        for (result, counted) in [
            (failure(libc::EPERM), false),
            (failure(libc::EINVAL), true),
            (Ok(()), true),
            (Ok(()), false),
        ] {
            assert!(
                matches!(judge_probe(&result, counted, true), Outcome::Missing(_)),
                "{result:?}"
            );
            let expected = if counted { "Seen" } else { "Missing" };
            let outcome = format!("{:?}", judge_probe(&result, counted, false));
            assert!(outcome.starts_with(expected), "{result:?}: {outcome}");
        }
    }
}
