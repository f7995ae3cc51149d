//! Leases: leave for one executable to write one node's memory for some time.
//!
//! A lease is asked for by `watchdog guard lease` and given by the watchdog, which knows the nodes.
//! Both go through one table of the guard's, which nobody else can open; the programs end it by the
//! kernel's clock, whatever becomes of either.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, MapError};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use watchdog_common::{FileKey, LEASE_RANGES, LEASE_RECORD_BYTES, Lease, Range, part};

use super::in_force::{InForce, InForceError};
use super::pins::PinError;
use super::release::Refusal;
use crate::alert::sha256;
use crate::memory::RangeSet;

/// The longest that a lease may last.
pub const LONGEST_LEASE: Duration = Duration::from_secs(3600);
/// How long the watchdog may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What a lease is ended by that is to end at once: a time that has passed.
const AT_ONCE: u64 = 1;

/// Who asks for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// The node's name.
    pub node: String,
    /// The executable, as it was named.
    pub exe: String,
    /// Its SHA-256, taken once nobody could write it any more.
    pub sha256: String,
    /// For how many milliseconds.
    pub milliseconds: u64,
    /// Who asked for it.
    pub user: String,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Given,
    Refused(String),
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Nobody would end it.
    #[error("no watchdog runs that could give a lease and end it: start it first")]
    Unwatched,
    /// Not by this process.
    #[error("a lease is given to whom the guard yields: {0}")]
    Refused(#[from] Refusal),
    /// One at a time.
    #[error("there is a lease already, for node {0}: end it first (watchdog guard lease --end)")]
    Taken(String),
    /// There is none.
    #[error("there is no lease that could be ended")]
    None,
    /// The executable.
    #[error("{0} cannot be leased memory: {1}")]
    Executable(String, io::Error),
    /// Somebody could still write it.
    #[error("{0} is open for writing: whoever has it could make another program of it")]
    Written(String),
    /// The guard did not see it opened.
    #[error(
        "the guard did not take up {0}: run `watchdog guard lease` from the executable that armed the guard, without a tracer"
    )]
    NotLearned(String),
    /// The watchdog says no.
    #[error("{0}")]
    No(String),
    /// It says nothing.
    #[error("the watchdog (process {0}) did not answer within {PATIENCE:?}")]
    NoAnswer(u32),
    /// The table.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The table.
    #[error("the guard's lease cannot be read or written")]
    Map(#[from] MapError),
    /// The terms do not fit.
    #[error("the lease's terms do not fit: shorten the executable's path")]
    TooLong,
}

/// The table of the lease, and the count of what leases let through.
pub struct LeaseTable {
    lease: Array<MapData, Lease>,
    leased: Array<MapData, u64>,
}

/// How a lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// There is none.
    Idle,
    /// One was asked for.
    Asked(LeaseTerms),
    /// One is in force for so long.
    InForce(LeaseTerms, Duration),
    /// Its time is over, and nobody has tidied up yet.
    Over(LeaseTerms),
}

impl LeaseTable {
    pub(super) fn new(lease: Map, leased: Map) -> Result<Self, MapError> {
        Ok(Self { lease: Array::try_from(lease)?, leased: Array::try_from(leased)? })
    }

    pub(super) fn of(guard: &InForce) -> Result<Self, PinError> {
        let open = |name| guard.generation.open(name, Map::Array);
        Ok(Self { lease: open("LEASE")?, leased: guard.generation.open("LEASED", Map::Array)? })
    }

    /// How the lease stands.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn state(&self) -> Result<LeaseState, MapError> {
        let lease = self.lease.get(&0, 0)?;
        let Some(terms) = terms(&lease) else { return Ok(LeaseState::Idle) };
        let now = now();
        Ok(match (&terms.answer, lease.until) {
            (None, _) if lease.learner == 0 => LeaseState::Asked(terms),
            (Some(Answer::Given), until) if until > now => {
                LeaseState::InForce(terms, Duration::from_nanos(until.saturating_sub(now)))
            }
            (Some(Answer::Given), 1..) => LeaseState::Over(terms),
            _ => LeaseState::Idle,
        })
    }

    /// Whether a lease is in force, or was until a moment ago.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self.state(), Ok(LeaseState::InForce(..) | LeaseState::Over(_)))
    }

    /// How many writes leases have let through, all of them together.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn writes(&self) -> Result<u64, MapError> {
        self.leased.get(&0, 0)
    }

    /// Gives what was asked for: memory, from now on.
    ///
    /// # Errors
    /// When the table cannot be used, or memory is in too many pieces.
    pub fn give(&mut self, terms: &LeaseTerms, memory: &RangeSet) -> Result<(), LeaseError> {
        let mut lease = self.lease.get(&0, 0)?;
        let ranges = memory.ranges();
        if ranges.len() > LEASE_RANGES {
            return Err(LeaseError::No(format!(
                "node {} is in {} pieces of memory, and a lease has room for {LEASE_RANGES}",
                terms.node,
                ranges.len()
            )));
        }
        lease.ranges = Lease::NONE.ranges;
        for (slot, range) in lease.ranges.iter_mut().zip(ranges) {
            *slot = Range { start: range.start().0, end: range.end().0 };
        }
        let given = LeaseTerms { answer: Some(Answer::Given), ..terms.clone() };
        write(&mut lease, &given)?;
        // What is leased stands there before it is in force: a program may look in between.
        self.lease.set(0, lease, 0)?;
        let time = Duration::from_millis(terms.milliseconds).min(LONGEST_LEASE);
        lease.until = now().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        Ok(self.lease.set(0, lease, 0)?)
    }

    /// Says why nothing is given.
    ///
    /// # Errors
    /// When the table cannot be used.
    pub fn refuse(&mut self, terms: &LeaseTerms, why: &str) -> Result<(), LeaseError> {
        let mut lease = Lease { number: self.lease.get(&0, 0)?.number, ..Lease::NONE };
        let answer = Some(Answer::Refused(why.to_owned()));
        write(&mut lease, &LeaseTerms { answer, ..terms.clone() })?;
        Ok(self.lease.set(0, lease, 0)?)
    }

    /// Ends the lease: nothing is left of it but its number.
    ///
    /// # Errors
    /// When the table cannot be used.
    pub fn end(&mut self) -> Result<(), MapError> {
        let number = self.lease.get(&0, 0)?.number;
        self.lease.set(0, Lease { number, ..Lease::NONE }, 0)
    }
}

impl InForce {
    /// Asks the watchdog for a lease, and waits until it is in force.
    ///
    /// # Errors
    /// [`LeaseError`]; then there is none.
    pub fn lease(
        &self,
        node: &str,
        exe: &Path,
        time: Duration,
        user: &str,
        secret: Option<&[u8]>,
    ) -> Result<LeaseTerms, LeaseError> {
        if !self.record.is_watched() {
            return Err(LeaseError::Unwatched);
        }
        self.record.release.check(secret)?;
        let mut table = LeaseTable::of(self)?;
        match table.state()? {
            LeaseState::Idle => {}
            LeaseState::Asked(terms) | LeaseState::InForce(terms, _) | LeaseState::Over(terms) => {
                return Err(LeaseError::Taken(terms.node));
            }
        }
        let mut terms = LeaseTerms {
            node: node.to_owned(),
            exe: exe.display().to_string(),
            sha256: String::new(),
            milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            user: user.to_owned(),
            answer: None,
        };
        let asked = table.ask(exe, &mut terms).and_then(|()| self.wait_for(&table, &terms));
        if asked.is_err() {
            table.end()?;
        }
        asked.map(|()| terms)
    }

    /// Ends the lease before its time.
    ///
    /// # Errors
    /// When there is none, or its table cannot be used.
    pub fn end_lease(&self) -> Result<LeaseTerms, LeaseError> {
        let mut table = LeaseTable::of(self)?;
        let LeaseState::InForce(terms, _) = table.state()? else { return Err(LeaseError::None) };
        let mut lease = table.lease.get(&0, 0)?;
        lease.until = AT_ONCE;
        table.lease.set(0, lease, 0)?;
        self.wake();
        Ok(terms)
    }

    /// Waits for the watchdog's answer.
    fn wait_for(&self, table: &LeaseTable, terms: &LeaseTerms) -> Result<(), LeaseError> {
        self.wake();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self::terms(&table.lease.get(&0, 0)?).and_then(|terms| terms.answer) {
                Some(Answer::Given) => return Ok(()),
                Some(Answer::Refused(why)) => return Err(LeaseError::No(why)),
                None => thread::sleep(LOOK_AGAIN),
            }
        }
        log::debug!("no answer to {terms:?}");
        Err(LeaseError::NoAnswer(self.record.pid))
    }

    /// Has the watchdog look at the lease now; it does every period.
    fn wake(&self) {
        let watchdog = i32::try_from(self.record.pid).ok().and_then(Pid::from_raw);
        if let Some(watchdog) = watchdog
            && let Err(error) = kill_process(watchdog, Signal::USR1)
        {
            log::warn!("the watchdog could not be woken: {error}");
        }
    }
}

impl LeaseTable {
    /// Asks for a lease: has the guard take up the executable, and keep it from being written.
    fn ask(&mut self, exe: &Path, terms: &mut LeaseTerms) -> Result<(), LeaseError> {
        let name = exe.display().to_string();
        let failed = |error| LeaseError::Executable(exe.display().to_string(), error);
        let number = self.lease.get(&0, 0)?.number.saturating_add(1).max(part::FIRST_LEASE);
        let learner = process::id();
        self.lease.set(0, Lease { number, learner, ..Lease::NONE }, 0)?;
        let mut file = File::open(exe).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is no file")));
        }
        let mut lease = self.lease.get(&0, 0)?;
        if lease.exe == FileKey::default() {
            return Err(LeaseError::NotLearned(name));
        }
        // From here on nobody opens it for writing; who did before is seen by this.
        if !has_no_writer(&file).map_err(failed)? {
            return Err(LeaseError::Written(name));
        }
        terms.sha256 = sha256(&mut file).map_err(failed)?;
        lease.learner = 0;
        write(&mut lease, terms)?;
        Ok(self.lease.set(0, lease, 0)?)
    }
}

impl From<InForceError> for LeaseError {
    fn from(error: InForceError) -> Self {
        Self::No(crate::alert::chain(&error))
    }
}

/// Whether nobody has a file open for writing: only then the kernel gives a lease for reading it
/// (`check_conflicting_open()`, fs/locks.c), which is given back at once.
fn has_no_writer(file: &File) -> io::Result<bool> {
    let set = |kind: libc::c_int| {
        // SAFETY: a command with a number, on a descriptor that is open.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    match set(libc::F_RDLCK) {
        Ok(()) => set(libc::F_UNLCK).map(|()| true),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(io::Error::other(
            "its file system knows no file leases, by which it is seen that nobody can write it: put it on a local disk",
        )),
        Err(error) => Err(error),
    }
}

/// The terms that stand in a lease; `None` where there are none.
fn terms(lease: &Lease) -> Option<LeaseTerms> {
    let record = lease.record.get(..usize::try_from(lease.length).ok()?)?;
    serde_json::from_slice(record).ok()
}

fn write(lease: &mut Lease, terms: &LeaseTerms) -> Result<(), LeaseError> {
    let bytes = serde_json::to_vec(terms).map_err(|_| LeaseError::TooLong)?;
    let place = lease.record.get_mut(..bytes.len()).ok_or(LeaseError::TooLong)?;
    place.copy_from_slice(&bytes);
    const { assert!(LEASE_RECORD_BYTES <= u32::MAX as usize) };
    lease.length = u32::try_from(bytes.len()).map_err(|_| LeaseError::TooLong)?;
    Ok(())
}

/// The kernel's clock that programs go by, in nanoseconds.
fn now() -> u64 {
    let now: Duration = clock_gettime(ClockId::Boottime).try_into().unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
