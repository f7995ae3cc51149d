//! Steps that wait for another one.

use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Result, ensure};

/// Opens once, well or badly.
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

    /// Waits until it is open; an error where what it stands for failed.
    pub(super) fn wait(&self) -> Result<()> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        while opened.is_none() {
            opened = self.changed.wait(opened).unwrap_or_else(PoisonError::into_inner);
        }
        ensure!(*opened == Some(true), "the Debian packages are not installed");
        Ok(())
    }
}
