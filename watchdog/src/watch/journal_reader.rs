//! The guard's check of the journal's reader, for the outlet.

use crate::alert::{self, ConfirmReader};
use watchdog_guard::{Diverted, JournalReader};

impl ConfirmReader for JournalReader {
    fn prepare(&mut self) {
        Self::prepare(self);
    }

    fn confirm(&mut self) -> Result<(), alert::Diverted> {
        Self::confirm(self).map_err(|how| match how {
            Diverted::Read(process) => alert::Diverted::Read(process),
            Diverted::Gone => alert::Diverted::Gone,
            Diverted::Filtered => alert::Diverted::Filtered,
        })
    }
}
