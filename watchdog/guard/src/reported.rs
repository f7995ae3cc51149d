//! The numbers of reported attempts, in a table that the next watchdog reads.

use aya::maps::{Array, MapData, MapError};

/// Counts the reported attempts of each path (the table `TOLD`). The next watchdog compares them
/// with the numbers of all attempts, and reports the difference.
pub struct ReportedCounts(Array<MapData, u64>);

impl ReportedCounts {
    pub(super) const fn new(table: Array<MapData, u64>) -> Self {
        Self(table)
    }

    /// Adds `count` attempts to the path with the number `path`.
    ///
    /// # Errors
    /// The kernel's, if the table cannot be read or written.
    pub fn add(&mut self, path: u32, count: u64) -> Result<(), MapError> {
        let before = self.0.get(&path, 0)?;
        self.0.set(path, before.saturating_add(count), 0)
    }
}
