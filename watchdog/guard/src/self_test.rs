//! Whether each path is really denied: tried, not assumed.
//!
//! A BPF LSM program attaches without error where it never fires, and one write to
//! `kernel.ftrace_enabled` turns all of them off without detaching them. A path counts as denied
//! only when the attempt failed with EPERM *and* the program counted it.
//!
//! The kernel skips a program at a function while another thread is in the midst of it that was
//! preempted there, on the same processor (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, 6.1
//! to 7.2). What it saves is then missing: denied, but not known to be the canary page. So an
//! attempt that did not succeed where it must not is made again before anything is said; but not
//! once another one did succeed: then the guard is off, and there is nothing to wait for.

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
use super::coverage::{Coverage, Outcome, PathResult};
use super::foreign::Foreign;
use super::frames::Frames;
use super::record::Record;
use super::self_protection::SelfProbes;
use super::stale_access::{StaleAccessSearch, StaleAccessWatch};
use super::{Policies, Policy, WritePath, dma_devices, probes};

/// How long is waited before an attempt is made once more, each time twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LAST_WAIT: Duration = Duration::from_millis(256);

/// What is needed to try every path.
pub(super) struct SelfTest {
    /// None where it cannot be opened any more.
    pub(super) canary: Option<Canary>,
    pub(super) probes_seen: Array<MapData, u64>,
    pub(super) policies: Policies,
    /// Paths for which this kernel has no place.
    pub(super) lacking: BTreeMap<WritePath, String>,
    /// Devices by which an IOMMU is reached, as the programs know them, where that is known.
    pub(super) dma_devices: Option<DmaDevices>,
    pub(super) foreign: Foreign,
    pub(super) self_probes: SelfProbes,
    pub(super) stale_access: StaleAccessWatch,
    /// Whether nothing succeeded so far that must not.
    pub(super) waits: Cell<bool>,
}

/// The way to a guard that is to be tested, beside its record. The process that armed the guard has
/// the objects themselves, and another process reaches them by their pins.
pub(super) struct Handles {
    /// `None` if it cannot be opened any more.
    pub(super) canary: Option<Canary>,
    /// The table in which the programs count probes.
    pub(super) probes_seen: Array<MapData, u64>,
    /// A pin that the guard refuses to give.
    pub(super) pin: PathBuf,
    /// The list of guarded frames that processes have mapped, or why there is none.
    pub(super) frames: Result<Frames, String>,
    pub(super) foreign: Foreign,
    /// Devices by which an IOMMU is reached, as the programs know them, if that is known.
    pub(super) dma_devices: Option<DmaDevices>,
}

impl SelfTest {
    /// The test of the guard with this record. `lacking`: paths for which this kernel has no hook,
    /// with the reason. `has_lsm`: whether LSM programs fire.
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

    /// Tries every path.
    pub(super) fn run(&mut self) -> Coverage {
        self.waits.set(true);
        let stale_access = self.stale_access.outcome(self.canary.as_ref());
        Coverage(WritePath::ALL.map(|path| self.test_path(path, &stale_access)).to_vec())
    }

    /// Does what policy says about stale access; returns what was found.
    pub(super) fn end_stale_access(&mut self) -> Vec<WriteAttempt> {
        self.stale_access.end(self.canary.as_ref())
    }

    fn test_path(&self, path: WritePath, stale_access: &Outcome) -> PathResult {
        let policy = self.policies.get(path);
        let seen = |act: &dyn Fn() -> io::Result<()>| self.probe(path, policy, act);
        let canary = |act: fn(&Canary) -> io::Result<()>| match &self.canary {
            Some(canary) => seen(&|| act(canary)),
            None => Outcome::NotTried("/dev/mem can no longer be opened for writing"),
        };
        let is_read_only = self.canary.as_ref().is_some_and(|canary| !canary.is_writable);
        let outcome = match path {
            _ if policy == Policy::Off => Outcome::Off,
            path if self.lacking.contains_key(&path) => {
                Outcome::Missing(self.lacking.get(&path).cloned().unwrap_or_default())
            }
            WritePath::Open => match seen(&Canary::try_open) {
                Outcome::Seen if is_read_only => Outcome::SeenBy("the device program"),
                outcome => outcome,
            },
            WritePath::Write => canary(Canary::try_write),
            WritePath::Mmap => canary(Canary::try_mmap),
            WritePath::RemapFilePages => canary(Canary::try_remap),
            WritePath::Mprotect => canary(Canary::try_mprotect),
            WritePath::Held => stale_access.clone(),
            WritePath::Pci => seen(&probes::ports),
            WritePath::Frames if is_read_only => {
                Outcome::NotTried("it needs /dev/mem open for writing, which no process has")
            }
            WritePath::Frames => canary(|canary| canary.try_frames().map(drop)),
            WritePath::Ioremap => canary(Canary::try_ioremap),
            WritePath::Module => seen(&probes::module),
            WritePath::KexecSegments if self.policies.get(WritePath::Kexec) >= Policy::Deny => {
                Outcome::NotTried("every kexec is denied before it")
            }
            WritePath::KexecSegments => seen(&probes::kexec_segment),
            WritePath::Kexec => seen(&probes::kexec_nothing),
            WritePath::Lockdown => seen(&probes::port),
            WritePath::SelfProtection => self.test_self_protection(),
            WritePath::Ftrace => seen(&probes::ftrace),
            WritePath::Bpf => self.test_bpf(policy),
            WritePath::Tracing => seen(&probes::bpf_traces),
            WritePath::Processors if !probes::has_processors() => {
                Outcome::NotTried("this kernel cannot start processors")
            }
            WritePath::Processors => seen(&probes::processor),
            WritePath::Iommu if policy < Policy::Deny => {
                Outcome::NotTried("only VFIO, iommufd or a driver can do it")
            }
            WritePath::Iommu => match self.dma_devices.as_ref().and_then(dma_devices::unknown_to) {
                Some(why) => Outcome::Missing(why),
                None => seen(&probes::dma_device),
            },
            WritePath::Dma => Outcome::NotTried("only a driver can do it"),
            WritePath::Fault => Outcome::NotTried("only a driver can do it"),
            WritePath::Parameters => Outcome::NotTried("only a loaded module can do it"),
            WritePath::Hotplug => Outcome::NotTried("it cannot be undone"),
        };
        PathResult { path, policy, outcome }
    }

    /// Programs of others: one that is loaded is refused, and there is none from before.
    fn test_bpf(&self, policy: Policy) -> Outcome {
        let refused = self.probe(WritePath::Bpf, policy, &probes::bpf_answers);
        if refused != Outcome::Seen {
            return refused;
        }
        match self.foreign.programs() {
            Err(error) => {
                Outcome::Missing(format!("the loaded BPF programs cannot be listed: {error}"))
            }
            Ok(all) if !all.is_empty() => Outcome::Missing(format!(
                "{}; it was loaded before the guard: remove it (bpftool prog show names it)",
                all.join(", ")
            )),
            Ok(_) if !self.foreign.knows_helpers => {
                Outcome::SeenBy("program types alone: /proc/kallsyms shows no addresses of helpers")
            }
            Ok(_) => Outcome::Seen,
        }
    }

    /// The guard's own: each of several acts is refused, whatever policy says of others.
    fn test_self_protection(&self) -> Outcome {
        for (name, act) in SelfProbes::ALL {
            let outcome =
                self.probe(WritePath::SelfProtection, Policy::Deny, &|| act(&self.self_probes));
            if let Outcome::Missing(why) = outcome {
                return Outcome::Missing(format!("{name}: {why}"));
            }
        }
        Outcome::Seen
    }

    fn probe(&self, path: WritePath, policy: Policy, act: &dyn Fn() -> io::Result<()>) -> Outcome {
        let count = || self.probes_seen.get(&path.number(), 0).ok();
        // Programs that only kill or see let the act itself succeed.
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

/// What an attempt's result means, given whether the program counted it.
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

    /// Check that only an EPERM that the program counted is a denial: another security module's
    /// EPERM, another error and a success are not; and that what is only seen need not fail.
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
