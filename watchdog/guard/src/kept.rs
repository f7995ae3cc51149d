//! The parts of the guard that stay in the kernel when its process ends: pins and record. Also how
//! the guard replaces earlier guards.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Coverage;
use super::error::GuardError;
use super::event::GuardEvent;
use super::holders::Holders;
use super::in_force::InForce;
use super::pinned::Pinned;
use super::record::Record;

/// The guard's pins and record, and the guards that it replaces.
pub(super) struct Kept {
    pinned: Pinned,
    record: Record,
    /// Guards that this one will replace.
    earlier: Vec<InForce>,
    /// The holders of the pins, once the guard is in force.
    holders: Option<Holders>,
}

impl Kept {
    pub(super) const fn new(pinned: Pinned, record: Record, earlier: Vec<InForce>) -> Self {
        Self { pinned, record, earlier, holders: None }
    }

    /// Enters the result of a self-test into the record. Writes the record to the kernel only while
    /// the guard is in force.
    pub(super) fn enter(&mut self, coverage: &Coverage) {
        self.record.proven = Timestamp::now();
        coverage.log(&self.record.coverage);
        self.record.coverage = coverage.clone();
        if self.pinned.keep
            && let Err(error) = self.pinned.write(&self.record)
        {
            log::warn!("{}", watchdog_core::text::chain(&error));
        }
    }

    /// Enters the baselines that the watch has on disk: by node, the SHA-256 of each.
    pub(super) fn set_baselines(&mut self, baselines: BTreeMap<String, String>) {
        self.record.settings.baselines = baselines;
    }

    /// Puts the guard in force and takes earlier guards down. Returns the attempts that these
    /// counted and did not report.
    pub(super) fn put_in_force(&mut self) -> Result<Vec<GuardEvent>, GuardError> {
        self.record.in_force = true;
        self.pinned.write(&self.record)?;
        self.pinned.keep = true;
        self.holders = Some(Holders::hold(self.pinned.generation.place())?);
        let mut events = Vec::new();
        for guard in self.earlier.drain(..) {
            events.extend(guard.give_way()?);
        }
        Ok(events)
    }

    /// What kept the pins beside this process, and no longer does; each once.
    pub(super) fn lost_holders(&mut self) -> Vec<&'static str> {
        self.holders.as_mut().map_or_else(Vec::new, Holders::newly_lost)
    }
}
