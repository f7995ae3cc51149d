//! Steps that wait for another one.

use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Result, ensure};

/// A gate that opens once, for success or for failure.
#[derive(Default)]
pub(super) struct Gate {
    opened: Mutex<Option<bool>>,
    changed: Condvar,
}

impl Gate {
    pub(super) fn open(&self, well: bool) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(well);
        self.changed.notify_all();
    }

    /// Waits until the gate is open. Returns an error if it opened for a failure.
    pub(super) fn wait(&self) -> Result<()> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        while opened.is_none() {
            opened = self.changed.wait(opened).unwrap_or_else(PoisonError::into_inner);
        }
        ensure!(*opened == Some(true), "the Debian packages are not installed");
        Ok(())
    }
}
