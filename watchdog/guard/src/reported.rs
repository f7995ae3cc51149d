//! How many attempts were reported, in the table where the next watchdog finds it.

use aya::maps::{Array, MapData, MapError};

use super::WritePath;

/// Counts the attempts by each path that reached the journal (the table `TOLD`). The next watchdog
/// compares them with all attempts, and reports the difference.
pub struct ReportedCounts(Array<MapData, u64>);

impl ReportedCounts {
    pub(super) const fn new(table: Array<MapData, u64>) -> Self {
        Self(table)
    }

    /// Adds `count` attempts by `path`.
    ///
    /// # Errors
    /// The kernel's, for a table that cannot be read or written.
    pub fn add(&mut self, path: WritePath, count: u64) -> Result<(), MapError> {
        let before = self.0.get(&path.number(), 0)?;
        self.0.set(path.number(), before.saturating_add(count), 0)
    }
}
