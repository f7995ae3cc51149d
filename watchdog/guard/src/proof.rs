//! Whether each path is really denied: tried, not assumed.
//!
//! A BPF LSM program attaches without error where it never fires, and one write to
//! `kernel.ftrace_enabled` turns all of them off without detaching them. A path counts as denied
//! only when the attempt failed with EPERM *and* the program counted it.
//!
//! The kernel skips a program at a function while another thread is in the midst of it that was
//! preempted there, on the same processor (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c, 6.1
//! to 7.2). What it saves is then missing: denied, but not known to be the decoy. So an attempt
//! that did not succeed where it must not is made again before anything is said; but not once
//! another one did succeed: then the guard is off, and there is nothing to wait for.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use watchdog_common::Doors;

use super::attempt::WriteAttempt;
use super::coverage::{Coverage, Outcome, PathProof};
use super::decoy::Decoy;
use super::error::GuardError;
use super::foreign::{self, Foreign};
use super::frames::{self, Frames};
use super::held::{Forbidden, Held};
use super::own::Reach;
use super::pins::Generation;
use super::preflight::Running;
use super::programs::lacking;
use super::record::Record;
use super::{Policies, Policy, WritePath, bpf, doors, stand_in};

/// How long is waited before an attempt is made once more, each time twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LAST_WAIT: Duration = Duration::from_millis(256);

/// What is needed to try every path.
pub(super) struct Prover {
    /// None where it cannot be opened any more.
    pub(super) decoy: Option<Decoy>,
    pub(super) proofs: Array<MapData, u64>,
    pub(super) policies: Policies,
    /// Paths for which this kernel has no place.
    pub(super) lacking: BTreeMap<WritePath, String>,
    /// Devices by which an IOMMU is reached, as the programs know them, where that is known.
    pub(super) doors: Option<Doors>,
    pub(super) foreign: Foreign,
    pub(super) own: Reach,
    pub(super) held: Held,
    /// Whether nothing succeeded so far that must not.
    pub(super) waits: Cell<bool>,
}

impl Prover {
    /// For a guard that another process armed.
    pub(super) fn of_record(
        record: &Record,
        generation: &Generation,
        running: &Running,
    ) -> Result<Self, GuardError> {
        let policies = record.policies();
        let no_lsm = running.no_lsm.as_deref();
        let decoy = if no_lsm.is_some() { Decoy::open_for_reading() } else { Decoy::open() };
        let decoy = decoy.inspect_err(|error| log::info!("{error}")).ok();
        let proofs = generation.open("PROOFS", Map::Array)?;
        let program = record.programs.first().copied().unwrap_or_default();
        let own = Reach { pin: generation.decoy(), program, watchdog: record.pid };
        let lacking = lacking(&running.btf, &policies, no_lsm);
        let doors = doors::of_this_kernel();
        let listing = |name| bpf::pinned(&generation.program(name));
        let frames = listing(frames::PROGRAM).map(Frames::new).map_err(|error| error.to_string());
        let foreign = Foreign::new(listing(foreign::PROGRAM), &running.btf, BTreeSet::new(), true);
        let forbidden =
            Forbidden::new(frames, &policies, no_lsm.is_none(), doors, record.processors.clone());
        let held = Held::new(forbidden, policies.get(WritePath::Held), record.pid);
        Ok(Self {
            decoy,
            proofs,
            policies,
            lacking,
            doors: None,
            foreign,
            own,
            held,
            waits: Cell::default(),
        })
    }

    /// Tries every path.
    pub(super) fn prove(&mut self) -> Coverage {
        self.waits.set(true);
        let held = self.held.outcome(self.decoy.as_ref());
        Coverage(WritePath::ALL.map(|path| self.path(path, &held)).to_vec())
    }

    /// Does what policy says about who holds what nobody may have; who that was.
    pub(super) fn end_holds(&mut self) -> Vec<WriteAttempt> {
        self.held.end(self.decoy.as_ref())
    }

    fn path(&self, path: WritePath, held: &Outcome) -> PathProof {
        let policy = self.policies.get(path);
        let seen = |act: &dyn Fn() -> io::Result<()>| self.attempt(path, policy, act);
        let decoy = |act: fn(&Decoy) -> io::Result<()>| match &self.decoy {
            Some(decoy) => seen(&|| act(decoy)),
            None => Outcome::NotTried("/dev/mem cannot be opened for writing any more"),
        };
        let is_read_only = self.decoy.as_ref().is_some_and(|decoy| !decoy.is_writable);
        let outcome = match path {
            _ if policy == Policy::Off => Outcome::Off,
            path if self.lacking.contains_key(&path) => {
                Outcome::Missing(self.lacking.get(&path).cloned().unwrap_or_default())
            }
            WritePath::Open => match seen(&Decoy::try_open) {
                Outcome::Seen if is_read_only => Outcome::SeenBy("the device program"),
                outcome => outcome,
            },
            WritePath::Write => decoy(Decoy::try_write),
            WritePath::Mmap => decoy(Decoy::try_mmap),
            WritePath::RemapFilePages => decoy(Decoy::try_remap),
            WritePath::Mprotect => decoy(Decoy::try_mprotect),
            WritePath::Held => held.clone(),
            WritePath::Pci => seen(&stand_in::ports),
            WritePath::Frames if is_read_only => {
                Outcome::NotTried("it takes /dev/mem open for writing, which nobody has")
            }
            WritePath::Frames => decoy(|decoy| decoy.try_frames().map(drop)),
            WritePath::Ioremap => decoy(Decoy::try_ioremap),
            WritePath::Module => seen(&stand_in::module),
            WritePath::KexecSegments if self.policies.get(WritePath::Kexec) >= Policy::Deny => {
                Outcome::NotTried("every kexec is refused before it")
            }
            WritePath::KexecSegments => seen(&stand_in::kexec_segment),
            WritePath::Kexec => seen(&stand_in::kexec_nothing),
            WritePath::Lockdown => seen(&stand_in::port),
            WritePath::Own => self.own(),
            WritePath::Ftrace => seen(&stand_in::ftrace),
            WritePath::Bpf => self.bpf(policy),
            WritePath::Tracing => seen(&stand_in::bpf_traces),
            WritePath::Processors if !stand_in::has_processors() => {
                Outcome::NotTried("this kernel starts no processors")
            }
            WritePath::Processors => seen(&stand_in::processor),
            WritePath::Iommu if policy < Policy::Deny => {
                Outcome::NotTried("only VFIO, iommufd or a driver can do it")
            }
            WritePath::Iommu => match self.doors.as_ref().and_then(doors::unknown_to) {
                Some(why) => Outcome::Missing(why),
                None => seen(&stand_in::door),
            },
            WritePath::Dma => Outcome::NotTried("only a driver can do it"),
            WritePath::Fault => Outcome::NotTried("only a driver can do it"),
            WritePath::Parameters => Outcome::NotTried("only a module that is loaded can do it"),
            WritePath::Hotplug => Outcome::NotTried("it cannot be undone"),
        };
        PathProof { path, policy, outcome }
    }

    /// Programs of others: one that is loaded is refused, and there is none from before.
    fn bpf(&self, policy: Policy) -> Outcome {
        let refused = self.attempt(WritePath::Bpf, policy, &stand_in::bpf_answers);
        if refused != Outcome::Seen {
            return refused;
        }
        match self.foreign.programs() {
            Err(error) => {
                Outcome::Missing(format!("which BPF programs there are is not seen: {error}"))
            }
            Ok(all) if !all.is_empty() => Outcome::Missing(format!(
                "{}; it was loaded before the guard: remove it (bpftool prog show names it)",
                all.join(", ")
            )),
            Ok(_) if !self.foreign.knows_helpers => Outcome::SeenBy(
                "the types of programs alone: /proc/kallsyms shows no addresses of helpers",
            ),
            Ok(_) => Outcome::Seen,
        }
    }

    /// The guard's own: each of several acts is refused, whatever policy says of others.
    fn own(&self) -> Outcome {
        for (name, act) in Reach::ACTS {
            let outcome = self.attempt(WritePath::Own, Policy::Deny, &|| act(&self.own));
            if let Outcome::Missing(why) = outcome {
                return Outcome::Missing(format!("{name}: {why}"));
            }
        }
        Outcome::Seen
    }

    fn attempt(
        &self,
        path: WritePath,
        policy: Policy,
        act: &dyn Fn() -> io::Result<()>,
    ) -> Outcome {
        let count = || self.proofs.get(&path.number(), 0).ok();
        // Programs that only kill or see let the act itself succeed.
        let must_fail = policy >= Policy::Deny && path.allows(Policy::Deny).is_ok();
        let mut wait = FIRST_WAIT;
        loop {
            let before = count();
            let result = act();
            let outcome = judge(&result, count() != before, must_fail);
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
fn judge(result: &io::Result<()>, counted: bool, must_fail: bool) -> Outcome {
    let is_denied = matches!(result, Err(error) if error.raw_os_error() == Some(libc::EPERM));
    if counted && (is_denied || !must_fail) {
        return Outcome::Seen;
    }
    Outcome::Missing(match result {
        Ok(()) if counted => "the program denied it, and it succeeded all the same".to_owned(),
        Ok(()) => "it succeeded, the program did not fire".to_owned(),
        Err(error) => format!("it failed ({error}), but not by the guard"),
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
        assert_eq!(judge(&failure(libc::EPERM), true, true), Outcome::Seen);
        for (result, counted) in [
            (failure(libc::EPERM), false),
            (failure(libc::EINVAL), true),
            (Ok(()), true),
            (Ok(()), false),
        ] {
            assert!(matches!(judge(&result, counted, true), Outcome::Missing(_)), "{result:?}");
            let expected = if counted { "Seen" } else { "Missing" };
            let outcome = format!("{:?}", judge(&result, counted, false));
            assert!(outcome.starts_with(expected), "{result:?}: {outcome}");
        }
    }
}
