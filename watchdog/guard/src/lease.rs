//! Leases: permission for one executable to write one node's memory for a limited time.
//!
//! `watchdog guard lease` requests a lease, and the watchdog grants it, because the watchdog knows
//! the nodes. Both use one of the guard's tables, which only processes of the watchdog's executable
//! can open. The guard's programs end the lease by the kernel's clock, even if both processes are
//! gone.

use std::io;
use std::time::Duration;

use aya::maps::{Array, Map, MapData, MapError};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use watchdog_common::{LEASE_RANGES, LEASE_RECORD_BYTES, Lease, Range, phase};

use super::bpffs::PinError;
use super::pins::Generation;
use super::release::Refusal;
use watchdog_core::memory::RangeSet;

/// The longest time that a lease may last.
pub const LONGEST_LEASE: Duration = Duration::from_secs(3600);

/// How long the watchdog may take to answer a request.
pub(super) const LEASE_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// No watchdog runs that would end it.
    #[error(
        "a lease needs a running watchdog: start the watchdog first (systemctl start \
         integrity-watchdog)"
    )]
    Unwatched,
    /// This process may not have one.
    #[error("the lease was refused: a lease needs the same permission as taking the guard down")]
    Refused(#[from] Refusal),
    /// Another lease is in force: there is one at a time.
    #[error("a lease is already in force, for node {0}: end it first (watchdog guard lease --end)")]
    Taken(String),
    /// There is no lease.
    #[error("there is no lease to end")]
    None,
    /// The executable cannot be opened or read.
    #[error("{0} cannot get a lease: {1}")]
    Executable(String, io::Error),
    /// A process could still write the executable.
    #[error(
        "{0} is open for writing, so its content could still change: close the file first (`fuser \
         -v {0}` lists the processes)"
    )]
    Written(String),
    /// The guard did not register the executable when this process opened it.
    #[error(
        "the guard did not register {0}. Run `watchdog guard lease` with the executable that armed \
         the guard, and without a tracer such as strace"
    )]
    NotRegistered(String),
    /// The watchdog refused the lease. The text says why.
    #[error("{0}")]
    No(String),
    /// The watchdog did not answer.
    #[error(
        "the watchdog (process {0}) did not answer within {LEASE_ANSWER_TIMEOUT:?}, so there is no \
         lease. Look at the watchdog's journal, and try again"
    )]
    NoAnswer(u32),
    /// The table's pin cannot be opened.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The table cannot be read or written.
    #[error("the guard's table of leases (an eBPF map) cannot be read or written")]
    Map(#[from] MapError),
    /// The terms are longer than the table's record.
    #[error("the executable's path is too long for a lease: use a shorter path")]
    TooLong,
}

/// The terms of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// The node's name.
    pub node: String,
    /// The executable, as the request named it.
    pub exe: String,
    /// Its SHA-256, computed once no process could write it.
    pub sha256: String,
    /// The duration in milliseconds.
    pub milliseconds: u64,
    /// The user who requested it.
    pub user: String,
    /// Why the watchdog refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
}

/// The table of the lease, and the count of writes that leases let through.
pub struct LeaseTable {
    pub(super) lease: Array<MapData, Lease>,
    leased: Array<MapData, u64>,
}

/// The state of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// There is none.
    Idle,
    /// A process requested one.
    Asked(LeaseTerms),
    /// One is in force for this remaining time.
    InForce(LeaseTerms, Duration),
    /// Its time is over, or it was ended, and the watchdog has not removed it yet.
    Over(LeaseTerms),
}

impl LeaseState {
    /// The state of a lease at a time of the kernel's clock, in nanoseconds.
    fn at(lease: &Lease, now: u64) -> Self {
        let Some(terms) = terms(lease) else { return Self::Idle };
        match lease.phase {
            phase::REQUESTED => Self::Asked(terms),
            phase::IN_FORCE if lease.until > now => {
                Self::InForce(terms, Duration::from_nanos(lease.until.saturating_sub(now)))
            }
            phase::IN_FORCE | phase::ENDED => Self::Over(terms),
            _ => Self::Idle,
        }
    }
}

impl LeaseTable {
    pub(super) fn new(lease: Map, leased: Map) -> Result<Self, MapError> {
        Ok(Self { lease: Array::try_from(lease)?, leased: Array::try_from(leased)? })
    }

    pub(super) fn of(guard: &Generation) -> Result<Self, PinError> {
        let (lease, leased) = (guard.open("LEASE", Map::Array)?, guard.open("LEASED", Map::Array)?);
        Ok(Self { lease, leased })
    }

    /// The current state of the lease.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn state(&self) -> Result<LeaseState, MapError> {
        Ok(LeaseState::at(&self.lease.get(&0, 0)?, now()))
    }

    /// Whether a lease is in force, or has ended and is not removed yet.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self.state(), Ok(LeaseState::InForce(..) | LeaseState::Over(_)))
    }

    /// How many writes all leases together have let through.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn writes(&self) -> Result<u64, MapError> {
        self.leased.get(&0, 0)
    }

    /// Grants the requested lease for the ranges in `memory`, from now on.
    ///
    /// # Errors
    /// When the table cannot be used, or `memory` has more ranges than a lease holds.
    pub fn give(&mut self, terms: &LeaseTerms, memory: &RangeSet) -> Result<(), LeaseError> {
        let mut lease = self.lease.get(&0, 0)?;
        let ranges = memory.ranges();
        if ranges.len() > LEASE_RANGES {
            return Err(LeaseError::No(format!(
                "node {} has {} ranges of memory, and a lease holds at most {LEASE_RANGES}: give \
                 the node fewer and larger ranges",
                terms.node,
                ranges.len()
            )));
        }
        lease.ranges = Lease::NONE.ranges;
        for (slot, range) in lease.ranges.iter_mut().zip(ranges) {
            *slot = Range { start: range.start().0, end: range.end().0 };
        }
        // Written before the phase changes: a program may read the table between the two writes.
        self.lease.set(0, lease, 0)?;
        lease.phase = phase::IN_FORCE;
        let time = Duration::from_millis(terms.milliseconds).min(LONGEST_LEASE);
        lease.until = now().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        Ok(self.lease.set(0, lease, 0)?)
    }

    /// Refuses the requested lease, with the reason in `why`.
    ///
    /// # Errors
    /// When the table cannot be used.
    pub fn refuse(&mut self, terms: &LeaseTerms, why: &str) -> Result<(), LeaseError> {
        let number = self.lease.get(&0, 0)?.number;
        let mut lease = Lease { number, phase: phase::REFUSED, ..Lease::NONE };
        write(&mut lease, &LeaseTerms { refusal: Some(why.to_owned()), ..terms.clone() })?;
        Ok(self.lease.set(0, lease, 0)?)
    }

    /// Ends the lease, and clears everything in the table but its number.
    ///
    /// # Errors
    /// When the table cannot be used.
    pub fn end(&mut self) -> Result<(), MapError> {
        let number = self.lease.get(&0, 0)?.number;
        self.lease.set(0, Lease { number, ..Lease::NONE }, 0)
    }
}

/// The terms in a lease; `None` where there are none.
pub(super) fn terms(lease: &Lease) -> Option<LeaseTerms> {
    let record = lease.record.get(..usize::try_from(lease.length).ok()?)?;
    serde_json::from_slice(record).ok()
}

pub(super) fn write(lease: &mut Lease, terms: &LeaseTerms) -> Result<(), LeaseError> {
    let bytes = serde_json::to_vec(terms).map_err(|_| LeaseError::TooLong)?;
    let place = lease.record.get_mut(..bytes.len()).ok_or(LeaseError::TooLong)?;
    place.copy_from_slice(&bytes);
    const { assert!(LEASE_RECORD_BYTES <= u32::MAX as usize) };
    lease.length = u32::try_from(bytes.len()).map_err(|_| LeaseError::TooLong)?;
    Ok(())
}

/// The kernel's clock that programs use (`CLOCK_BOOTTIME`), in nanoseconds.
fn now() -> u64 {
    let now: Duration = clock_gettime(ClockId::Boottime).try_into().unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> LeaseTerms {
        LeaseTerms {
            node: "web".to_owned(),
            exe: "/sbin/loader".to_owned(),
            sha256: "ab".to_owned(),
            milliseconds: 1000,
            user: "user 0".to_owned(),
            refusal: None,
        }
    }

    /// Check that terms are read back as they were written. Check that an empty lease and a lease
    /// with a wrong length have no terms, and that terms which do not fit are refused.
    #[test]
    fn written_and_read() {
        let mut lease = Lease::NONE;
        assert_eq!(terms(&lease), None);
        write(&mut lease, &asked()).expect("they fit");
        assert_eq!(terms(&lease), Some(asked()));
        lease.length = u32::MAX;
        assert_eq!(terms(&lease), None);
        let long = LeaseTerms { exe: "x".repeat(LEASE_RECORD_BYTES), ..asked() };
        assert!(matches!(write(&mut lease, &long), Err(LeaseError::TooLong)));
    }

    /// Check that the phase decides whether a lease is in force, and its time how long. Check that
    /// a lease which was ended is over, whatever its time, and that an unknown phase means no
    /// lease.
    #[test]
    fn phases() {
        const NOW: u64 = 1000;
        let at = |phase: u32, until: u64| {
            let mut lease = Lease { phase, until, ..Lease::NONE };
            write(&mut lease, &asked()).expect("they fit");
            LeaseState::at(&lease, NOW)
        };
        let left = Duration::from_nanos(1);
        assert_eq!(at(phase::IN_FORCE, NOW + 1), LeaseState::InForce(asked(), left));
        assert_eq!(at(phase::IN_FORCE, NOW), LeaseState::Over(asked()));
        assert_eq!(at(phase::ENDED, NOW + 1), LeaseState::Over(asked()));
        assert_eq!(at(phase::REQUESTED, NOW + 1), LeaseState::Asked(asked()));
        for idle in [phase::NONE, phase::REGISTERING, phase::REFUSED, u32::MAX] {
            assert_eq!(at(idle, NOW + 1), LeaseState::Idle, "{idle}");
        }
        let without_terms = Lease { phase: phase::IN_FORCE, until: NOW + 1, ..Lease::NONE };
        assert_eq!(LeaseState::at(&without_terms, NOW), LeaseState::Idle);
    }
}
