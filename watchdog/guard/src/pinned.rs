//! The pins of the guard that this process arms.

use aya::maps::{Array, Map, MapData};
use watchdog_common::State;

use super::error::GuardError;
use super::pins::Generation;
use super::record::Record;

/// The pins of a guard. Dropping this removes them, unless they are kept.
pub(super) struct Pinned {
    pub(super) generation: Generation,
    /// The table with the state and the record, once it exists.
    state: Option<Array<MapData, State>>,
    pub(super) keep: bool,
}

impl Pinned {
    /// The folder of a guard that has no pins yet.
    pub(super) const fn new(generation: Generation) -> Self {
        Self { generation, state: None, keep: false }
    }

    /// Takes the table with the state, and writes the first record.
    pub(super) fn begin(&mut self, state: Map, record: &Record) -> Result<(), GuardError> {
        self.state = Some(Array::try_from(state)?);
        self.write(record)
    }

    /// The folder, and the table with the state and the record.
    pub(super) fn parts(
        &mut self,
    ) -> Result<(&Generation, &mut Array<MapData, State>), GuardError> {
        let state = self.state.as_mut().ok_or(GuardError::Missing("STATE"))?;
        Ok((&self.generation, state))
    }

    /// Writes the record to the guard's own table.
    pub(super) fn write(&mut self, record: &Record) -> Result<(), GuardError> {
        let (_, state) = self.parts()?;
        let mut now = state.get(&0, 0)?;
        record.write(&mut now)?;
        Ok(state.set(0, now, 0)?)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Some(state) = &mut self.state
            && let Ok(mut now) = state.get(&0, 0)
        {
            now.released = 1;
            let _ = state.set(0, now, 0);
        }
        if let Err(error) = self.generation.remove() {
            log::error!("{}", watchdog_core::text::chain(&error));
        }
    }
}
