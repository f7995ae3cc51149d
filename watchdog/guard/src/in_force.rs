//! Guards that are already in force: their records, and how one gives way to another.

use std::collections::BTreeSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, RingBuf};
use watchdog_common::{State, path};

use super::attempt::WriteAttempt;
use super::bpffs::PinError;
use super::canary::Canary;
use super::error::{GuardError, InForceError};
use super::event::GuardEvent;
use super::foreign::{self, Foreign};
use super::frames::{self, Frames};
use super::lease::LeaseTable;
use super::pins::{Generation, RELEASE_TIMEOUT, remove_empty};
use super::preflight::{self, Running};
use super::programs::lacking;
use super::record::{Record, RecordError};
use super::self_test::{Handles, SelfTest};
use super::{Coverage, WritePath, bpf, kernel_enums};

/// A guard that is in force.
pub struct InForce {
    pub(super) generation: Generation,
    state: Array<MapData, State>,
    /// Its record.
    pub record: Record,
}

impl InForce {
    /// Every guard in force, the oldest first. There is more than one only while one gives way to
    /// another, or after that was interrupted. A guard that a watchdog is still arming is not in
    /// force.
    ///
    /// # Errors
    /// [`InForceError`], also if another build armed a guard.
    pub fn all() -> Result<Vec<Self>, InForceError> {
        let mut all = Vec::new();
        for generation in Generation::all()? {
            if let Some((state, Some(record))) = read_state(&generation)?
                && record.in_force
            {
                all.push(Self { generation, state, record });
            }
        }
        Ok(all)
    }

    /// Removes guards whose watchdog ended before it put them in force.
    ///
    /// # Errors
    /// [`InForceError`], also if a watchdog is arming a guard now.
    pub fn clear_unfinished() -> Result<(), InForceError> {
        for generation in Generation::all()? {
            match read_state(&generation)? {
                Some((_, Some(record))) if record.in_force => {}
                Some((_, Some(record))) if record.is_watched() => {
                    return Err(InForceError::Watched(record.pid));
                }
                Some((state, _)) => discard(state, &generation)?,
                None => generation.remove()?,
            }
        }
        Ok(())
    }

    /// Checks that this process may take the guard down.
    ///
    /// # Errors
    /// [`InForceError`] when a watchdog runs, or when `secret` is wrong.
    pub fn check(&self, secret: Option<&[u8]>) -> Result<(), InForceError> {
        if self.record.is_watched() {
            return Err(InForceError::Watched(self.record.pid));
        }
        Ok(self.record.release.check(secret)?)
    }

    /// Takes the guard down. From then on it denies no writes to the other nodes' memory.
    ///
    /// # Errors
    /// As [`Self::check`], and when the kernel does not release the programs.
    pub fn disarm(self, secret: Option<&[u8]>) -> Result<(), InForceError> {
        self.check(secret)?;
        discard(self.state, &self.generation)?;
        wait_for_end(&self.record.programs, &self.generation)?;
        remove_empty();
        Ok(())
    }

    /// Allows processes that execute the watchdog's executable to open `/dev/mem` for writing,
    /// whatever the policy of `open`; or ends that permission.
    pub(super) fn let_open(&mut self, leave: bool) -> Result<(), InForceError> {
        let mut now = self.state.get(&0, 0)?;
        now.opens = leave.into();
        Ok(self.state.set(0, now, 0)?)
    }

    /// Tests every path of the guard, from this process.
    ///
    /// # Errors
    /// [`GuardError`] when the guard's tables cannot be used.
    pub fn self_test(&self) -> Result<Coverage, GuardError> {
        let kernel = preflight::check(true)?;
        let no_lsm = kernel.no_lsm.as_deref();
        let lacking = lacking(&kernel.btf, &self.record.policies(), no_lsm);
        let handles = self.handles(&kernel)?;
        let mut self_test = SelfTest::new(&self.record, lacking, no_lsm.is_none(), handles);
        self_test.stale_access.is_leased = LeaseTable::of(&self.generation)?.is_taken();
        let coverage = self_test.run();
        coverage.log(&Coverage::default());
        Ok(coverage)
    }

    /// The handles that a test needs, from the guard's pins.
    fn handles(&self, kernel: &Running) -> Result<Handles, PinError> {
        let canary =
            if kernel.no_lsm.is_some() { Canary::open_for_reading() } else { Canary::open() };
        let list = |name| bpf::pinned(&self.generation.program(name));
        let frames = list(frames::PROGRAM).map(Frames::new).map_err(|error| error.to_string());
        Ok(Handles {
            canary: canary.inspect_err(|error| log::info!("{error}")).ok(),
            probes_seen: self.generation.open("PROOFS", Map::Array)?,
            pin: self.generation.canary(),
            frames,
            foreign: Foreign::new(list(foreign::PROGRAM), &kernel.btf, BTreeSet::new(), true),
            dma_devices: None,
        })
    }

    /// Takes this guard down after another was put in force. Returns the attempts that this one
    /// counted and did not report.
    pub(super) fn give_way(self) -> Result<Vec<GuardEvent>, InForceError> {
        let Self { generation, state, record } = self;
        let mut attempts: RingBuf<MapData> = generation.open("ATTEMPTS", Map::RingBuf)?;
        let counts: Array<MapData, u64> = generation.open("COUNTS", Map::Array)?;
        let reported: Array<MapData, u64> = generation.open("TOLD", Map::Array)?;
        discard(state, &generation)?;
        wait_for_end(&record.programs, &generation)?;
        // The counts no longer change.
        let reasons = preflight::check(true).map(|running| kernel_enums::reasons(&running.btf));
        let reasons = reasons.unwrap_or_default();
        let mut events = Vec::new();
        let mut waiting = [0_u64; path::COUNT as usize];
        while let Some(record) = attempts.next() {
            let Some(attempt) = WriteAttempt::of_record(&record, &reasons) else { continue };
            if let Some(waiting) = waiting.get_mut(attempt.path.number() as usize) {
                *waiting = waiting.saturating_add(1);
            }
            events.push(GuardEvent::Inherited(attempt));
        }
        for path in WritePath::ALL {
            let number = path.number();
            let known = waiting.get(number as usize).copied().unwrap_or_default();
            let reported = reported.get(&number, 0)?.saturating_add(known);
            let count = counts.get(&number, 0)?.saturating_sub(reported);
            if count > 0 {
                events.push(GuardEvent::Unreported { path, count });
            }
        }
        Ok(events)
    }
}

/// Whether some guard's canary program is loaded, which no process may open. The guard may be
/// pinned in a folder that this process cannot find.
#[must_use]
pub fn is_hidden() -> bool {
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    bpf::programs().into_iter().any(|id| bpf::program_by_id(id).is_err_and(is_refused))
}

/// A guard's state, and its record once there is one.
type StateAndRecord = (Array<MapData, State>, Option<Record>);

/// Reads the state of a guard; `None` if it does not have a state table yet.
fn read_state(generation: &Generation) -> Result<Option<StateAndRecord>, InForceError> {
    let Some(state) = generation.state()? else { return Ok(None) };
    let now = state.get(&0, 0)?;
    match Record::of(&now) {
        Ok(record) => Ok(Some((state, Some(record)))),
        Err(RecordError::Unfinished) => Ok(Some((state, None))),
        Err(error) => {
            let place = generation.directory().display().to_string();
            Err(InForceError::Record(place, error))
        }
    }
}

/// Waits until the kernel has released the programs. This takes some time after their last pin is
/// removed.
fn wait_for_end(programs: &[u32], generation: &Generation) -> Result<(), PinError> {
    let begun = Instant::now();
    // While the guard acts, no process can open its canary program. So any error but `NotFound`
    // means that a program is still loaded.
    let is_alive = |id: &u32| match bpf::program_by_id(*id) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    while programs.iter().any(is_alive) {
        if begun.elapsed() > RELEASE_TIMEOUT {
            return Err(PinError::Stays(generation.directory().to_owned()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Releases a guard, and removes its pins.
fn discard(mut state: Array<MapData, State>, generation: &Generation) -> Result<(), InForceError> {
    let mut now = state.get(&0, 0)?;
    now.released = 1;
    state.set(0, now, 0)?;
    Ok(generation.remove()?)
}
