//! The root of a kernel's page tables, and how to read their entries.

use super::entry::{Entry, entry_at};
use crate::memory::{Memory, PhysAddr};

/// A kernel's own page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Physical address of `init_top_pgt`.
    pub root: PhysAddr,
    /// 4 or 5.
    pub levels: u8,
    /// The bit of an entry that means "encrypted memory" and is not part of the address. 0 without
    /// memory encryption.
    pub encryption: u64,
}

impl Tables {
    /// An entry of the table at physical `table`, without the encryption bit.
    pub(super) fn entry(
        &self,
        memory: &dyn Memory,
        table: PhysAddr,
        index: usize,
    ) -> Option<Entry> {
        entry_at(memory, table, index).map(|entry| self.decrypted(entry))
    }

    /// An entry without the encryption bit.
    pub(super) const fn decrypted(&self, entry: Entry) -> Entry {
        Entry(entry.0 & !self.encryption)
    }
}
