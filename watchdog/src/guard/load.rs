//! The guard as it runs: its programs, the rules they go by, and what comes back from them.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::process;

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use watchdog_common::{Doors, MAX_RANGES, Range, Rules};

use super::attach::{ROOT_CGROUP, attach};
use super::attempt::WriteAttempt;
use super::coverage::Coverage;
use super::decoy::{DECOY, Decoy, DecoyError, INNER_DECOY};
use super::preflight::{self, PreflightError};
use super::proof::prove;
use super::{Policies, WritePath, doors, kinds};
use crate::memory::RangeSet;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/watchdog-ebpf"));

/// What the guard protects.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// The other nodes' physical memory.
    pub ranges: RangeSet,
    /// What is done about each path.
    pub policies: Policies,
    /// Whether to go on where `bpf` is no active LSM, with what needs none.
    pub without_lsm: bool,
}

/// Why the guard could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Something is missing.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// More ranges than the programs hold.
    #[error(
        "the other nodes' memory is in {0} pieces, and the guard holds {MAX_RANGES}: name fewer and larger ranges with --node"
    )]
    TooManyRanges(usize),
    /// The kernel refused the object.
    #[error("the kernel did not take the guard's programs")]
    Load(#[from] EbpfError),
    /// The kernel refused one program.
    #[error("the kernel did not take the guard's program `{0}`: {1}")]
    Program(&'static str, String),
    /// Part of the embedded object is missing.
    #[error("this build of watchdog has no `{0}` in its eBPF programs: build it again")]
    Missing(&'static str),
    /// A map could not be used.
    #[error("the guard's tables could not be opened")]
    Map(#[from] aya::maps::MapError),
    /// The root cgroup cannot be opened.
    #[error(
        "{ROOT_CGROUP} cannot be opened, where kernel.ftrace_enabled is guarded: mount it (mount -t cgroup2 cgroup2 {ROOT_CGROUP}), or say `ftrace-enabled = \"off\"` under [guard.paths]"
    )]
    Cgroup(#[source] std::io::Error),
    /// The event loop does not take the ring buffer.
    #[error("the guard's events could not be listened to")]
    Listen(#[source] std::io::Error),
    /// The decoy cannot be used.
    #[error(transparent)]
    Decoy(#[from] DecoyError),
}

/// The loaded guard; detached when dropped.
pub struct Guard {
    /// Holds the programs' attachments.
    _programs: Ebpf,
    attempts: AsyncFd<RingBuf<MapData>>,
    lost: PerCpuArray<MapData, u64>,
    lost_told: u64,
    proofs: Array<MapData, u64>,
    log: Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>,
    decoy: Decoy,
    policies: Policies,
    /// Paths for which this kernel has no place.
    lacking: BTreeMap<WritePath, String>,
    /// Devices by which an IOMMU is reached, as the programs know them.
    doors: Doors,
    /// The kernel's reasons for asking security modules, by number.
    reasons: BTreeMap<u32, String>,
}

/// What the guard has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    /// Something was attempted, and policy did something about it.
    Attempt(WriteAttempt),
    /// Attempts that nobody can be told of: how many.
    Lost(u64),
}

impl Guard {
    /// Loads and attaches all programs. From here on writes are denied; whether they really are,
    /// [`Guard::prove`] says.
    ///
    /// # Errors
    /// [`GuardError`], each with what to do.
    pub fn load(config: &GuardConfig) -> Result<Self, GuardError> {
        let running = preflight::check(config.without_lsm)?;
        let no_lsm = running.no_lsm.as_deref();
        let policies = match no_lsm {
            Some(_) => config.policies.at_the_door(),
            None => config.policies.clone(),
        };
        let mut rules = rules(&config.ranges, &policies)?;
        kinds::fill_in(&running.btf, &mut rules).map_err(PreflightError::from)?;
        // Before arming: in `strict` it could not be opened any more.
        let decoy = if no_lsm.is_some() { Decoy::open_for_reading() } else { Decoy::open() }?;
        let doors = doors::of_this_kernel();
        let mut programs = EbpfLoader::new()
            .override_global("OFFSETS", &running.offsets, true)
            .override_global("RULES", &rules, true)
            .override_global("DOORS", &doors, true)
            .load(OBJECT)?;
        let log = EbpfLogger::init(&mut programs)
            .inspect_err(|error| log::debug!("eBPF's own messages are not shown: {error}"))
            .ok()
            .and_then(|logger| listen(logger).ok());
        let lacking = attach(&mut programs, &running.btf, &policies, no_lsm)?;
        let mut map = |name| programs.take_map(name).ok_or(GuardError::Missing(name));
        let attempts = RingBuf::try_from(map("ATTEMPTS")?)?;
        Ok(Self {
            attempts: listen(attempts)?,
            lost: PerCpuArray::try_from(map("LOST")?)?,
            lost_told: 0,
            proofs: Array::try_from(map("PROOFS")?)?,
            _programs: programs,
            log,
            decoy,
            policies,
            lacking,
            doors,
            reasons: kinds::reasons(&running.btf),
        })
    }

    /// Tries each forbidden thing on the decoy. Cheap enough for every period.
    pub fn prove(&mut self) -> Coverage {
        prove(&self.decoy, &self.proofs, &self.policies, &self.lacking, &self.doors)
    }

    /// Waits for the next attempt. Cancel safe.
    pub async fn next_event(&mut self) -> GuardEvent {
        loop {
            let record = self.attempts.get_mut().next();
            let attempt = record.and_then(|it| WriteAttempt::of_record(&it, &self.reasons));
            if let Some(attempt) = attempt {
                return GuardEvent::Attempt(attempt);
            }
            if let Some(lost) = self.newly_lost() {
                return GuardEvent::Lost(lost);
            }
            tokio::select! {
                ready = self.attempts.readable_mut() => {
                    // Cleared first: what arrives after the next look is seen as ready again.
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                }
                () = relay_log(&mut self.log) => {}
            }
        }
    }

    /// Attempts lost since this was asked last.
    fn newly_lost(&mut self) -> Option<u64> {
        let lost: u64 = self.lost.get(&0, 0).ok()?.iter().sum();
        let new = lost.checked_sub(self.lost_told).filter(|new| *new > 0);
        self.lost_told = lost;
        new
    }
}

/// Registers a ring buffer with the event loop.
fn listen<T: AsRawFd>(buffer: T) -> Result<AsyncFd<T>, GuardError> {
    // SAFETY: both kinds of ring buffer own their descriptor and keep it open and the same for as
    // long as they live; nobody takes them out of the `AsyncFd`.
    unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) }
        .map_err(|refused| GuardError::Listen(refused.into()))
}

/// Passes eBPF's own messages on to the log.
async fn relay_log(log: &mut Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>) {
    let Some(log) = log else { return std::future::pending().await };
    if let Ok(mut ready) = log.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// The rules as the programs hold them.
fn rules(ranges: &RangeSet, policies: &Policies) -> Result<Rules, GuardError> {
    let ranges = ranges.ranges();
    let mut rules =
        Rules { decoy: DECOY, watchdog: process::id(), inner_decoy: INNER_DECOY, ..Rules::EMPTY };
    if ranges.len() > rules.ranges.len() {
        return Err(GuardError::TooManyRanges(ranges.len()));
    }
    for path in WritePath::ALL {
        if let Some(slot) = rules.policy.get_mut(path.number() as usize) {
            *slot = policies.get(path).number();
        }
    }
    for (slot, range) in rules.ranges.iter_mut().zip(ranges) {
        *slot = Range { start: range.start().0, end: range.end().0 };
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that exactly 64 ranges fit, and that more are refused, not cut.
    #[test]
    fn ranges_fit() {
        let rules = |count: u64| {
            let range = |n| format!("{}..{}", n * 0x2000, n * 0x2000 + 0x1000).parse();
            rules(&(0..count).flat_map(range).collect(), &Policies::default())
        };
        let full = rules(64).unwrap();
        assert_eq!(full.ranges[63], Range { start: 63 * 0x2000, end: 63 * 0x2000 + 0x1000 });
        assert!(matches!(rules(65), Err(GuardError::TooManyRanges(65))));
    }
}
