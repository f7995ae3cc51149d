//! Loading and attaching the programs, and what comes back from them.

use std::os::fd::AsRawFd;
use std::process;

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::{FEntry, FExit, Lsm, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;
use serde::Deserialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use watchdog_common::{MAX_RANGES, Range, Rules};

use super::attempt::WriteAttempt;
use super::decoy::{DECOY, Decoy, DecoyError};
use super::preflight::{self, PreflightError};
use super::proof::{Coverage, prove};
use crate::memory::RangeSet;

static PROGRAMS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/watchdog-ebpf"));

/// LSM programs: their name and their hook.
const LSM: [&str; 4] = ["file_open", "file_permission", "mmap_file", "file_mprotect"];
/// Programs at a function's entry.
const ENTRY: [(&str, &str); 2] =
    [("write_position", "rw_verify_area"), ("mapping", "vm_mmap_pgoff")];
/// Programs at a function's exit.
const EXIT: [(&str, &str); 2] =
    [("write_position_done", "rw_verify_area"), ("mapping_done", "vm_mmap_pgoff")];

/// What opening `/dev/mem` for writing gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenPolicy {
    /// Allowed: what is done with it is judged by range.
    #[default]
    Allow,
    /// Denied.
    Deny,
}

/// What the guard protects.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// The other nodes' physical memory.
    pub ranges: RangeSet,
    /// What a writable open gets.
    pub open: OpenPolicy,
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
    #[error("the kernel did not take the guard's program `{0}`")]
    Program(&'static str, #[source] Box<ProgramError>),
    /// Part of the embedded object is missing.
    #[error("this build of watchdog has no `{0}` in its eBPF programs: build it again")]
    Missing(&'static str),
    /// A map could not be used.
    #[error("the guard's tables could not be opened")]
    Map(#[from] aya::maps::MapError),
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
    open: OpenPolicy,
}

/// What the guard has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    /// An attempt was denied.
    Denied(WriteAttempt),
    /// Attempts were denied that nobody can be told of: how many.
    Lost(u64),
}

impl Guard {
    /// Loads and attaches all programs. From here on writes are denied; whether they really are,
    /// [`Guard::prove`] says.
    ///
    /// # Errors
    /// [`GuardError`], each with what to do.
    pub fn load(config: &GuardConfig) -> Result<Self, GuardError> {
        let offsets = preflight::check()?;
        let rules = rules(config)?;
        // Before arming: with `open = "deny"` it could not be opened any more.
        let decoy = Decoy::open()?;
        let mut programs = EbpfLoader::new()
            .override_global("OFFSETS", &offsets, true)
            .override_global("RULES", &rules, true)
            .load(PROGRAMS)?;
        let log = EbpfLogger::init(&mut programs)
            .inspect_err(|error| log::debug!("eBPF's own messages are not shown: {error}"))
            .ok()
            .and_then(|logger| listen(logger).ok());
        attach(&mut programs)?;
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
            open: config.open,
        })
    }

    /// Tries each forbidden thing on the decoy. Cheap enough for every period.
    pub fn prove(&mut self) -> Coverage {
        prove(&self.decoy, &self.proofs, self.open)
    }

    /// Waits for the next denied attempt. Cancel safe.
    pub async fn next_event(&mut self) -> GuardEvent {
        loop {
            let record = self.attempts.get_mut().next();
            if let Some(attempt) = record.and_then(|record| WriteAttempt::of_record(&record)) {
                return GuardEvent::Denied(attempt);
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
fn rules(config: &GuardConfig) -> Result<Rules, GuardError> {
    let ranges = config.ranges.ranges();
    let mut rules = Rules {
        decoy: DECOY,
        watchdog: process::id(),
        deny_open: u32::from(config.open == OpenPolicy::Deny),
        ..Rules::EMPTY
    };
    if ranges.len() > rules.ranges.len() {
        return Err(GuardError::TooManyRanges(ranges.len()));
    }
    for (slot, range) in rules.ranges.iter_mut().zip(ranges) {
        *slot = Range { start: range.start().0, end: range.end().0 };
    }
    Ok(rules)
}

/// Attaches everything: what saves before what decides, so that nothing is denied for want of
/// what was not saved yet.
fn attach(programs: &mut Ebpf) -> Result<(), GuardError> {
    let btf =
        Btf::from_sys_fs().map_err(|error| PreflightError::NoBtf(std::io::Error::other(error)))?;
    for (name, function) in ENTRY {
        let program: &mut FEntry = find(programs, name)?;
        let refused = refused(name);
        program.load(function, &btf).and_then(|()| program.attach()).map_err(refused)?;
    }
    for (name, function) in EXIT {
        let program: &mut FExit = find(programs, name)?;
        let refused = refused(name);
        program.load(function, &btf).and_then(|()| program.attach()).map_err(refused)?;
    }
    for hook in LSM {
        let program: &mut Lsm = find(programs, hook)?;
        let refused = refused(hook);
        program.load(hook, &btf).and_then(|()| program.attach()).map_err(refused)?;
    }
    Ok(())
}

fn find<'a, P>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, GuardError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    programs
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(GuardError::Missing(name))
}

fn refused(name: &'static str) -> impl FnOnce(ProgramError) -> GuardError {
    move |error| GuardError::Program(name, Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that exactly 64 ranges fit, and that more are refused, not cut.
    #[test]
    fn ranges_fit() {
        let config = |count: u64| GuardConfig {
            ranges: (0..count)
                .map(|n| format!("{}..{}", n * 0x2000, n * 0x2000 + 0x1000).parse().unwrap())
                .collect(),
            open: OpenPolicy::Allow,
        };
        let full = rules(&config(64)).unwrap();
        assert_eq!(full.ranges[63], Range { start: 63 * 0x2000, end: 63 * 0x2000 + 0x1000 });
        assert!(matches!(rules(&config(65)), Err(GuardError::TooManyRanges(65))));
    }
}
