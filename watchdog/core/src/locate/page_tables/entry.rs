//! Entries of x86-64 page tables (arch/x86/include/asm/pgtable_types.h; the same with 4 and 5
//! levels).

use crate::memory::{Memory, PhysAddr};

/// Number of entries in a table.
pub(super) const ENTRIES: usize = 512;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
pub(super) const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// An entry of a table of any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u64);

/// The target of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    Nowhere,
    /// To a table of the next level below.
    Table(PhysAddr),
    /// To this many bytes of memory.
    Memory(PhysAddr, u64),
}

impl Entry {
    /// Where the entry leads from a table of this level. Level 1 maps pages of 4 KiB, and levels 2
    /// and 3 may map large pages (2 MiB and 1 GiB). The hardware has no other large pages.
    pub(super) const fn leads(self, level: u8) -> Leads {
        let frame = self.0 & FRAME;
        match (self.0 & PRESENT != 0, level, self.0 & LARGE != 0) {
            (false, ..) | (_, 4.., true) | (_, 0, _) => Leads::Nowhere,
            (_, 1, _) => Leads::Memory(PhysAddr(frame), 1 << 12),
            (_, 2, true) => Leads::Memory(PhysAddr(frame & !0x1f_ffff), 1 << 21),
            (_, 3, true) => Leads::Memory(PhysAddr(frame & !0x3fff_ffff), 1 << 30),
            _ => Leads::Table(PhysAddr(frame)),
        }
    }
}

/// Rights collected along a walk: a right counts only if every level grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rights {
    pub(super) writable: bool,
    pub(super) executable: bool,
    pub(super) user: bool,
}

impl Rights {
    pub(super) const ALL: Self = Self { writable: true, executable: true, user: true };

    pub(super) const fn and(self, entry: Entry) -> Self {
        Self {
            writable: self.writable && entry.0 & WRITABLE != 0,
            executable: self.executable && entry.0 & NO_EXECUTE == 0,
            user: self.user && entry.0 & USER != 0,
        }
    }
}

/// An entry of the table at physical `table`.
pub(super) fn entry_at(memory: &dyn Memory, table: PhysAddr, index: usize) -> Option<Entry> {
    let at = table.checked_add((index as u64).saturating_mul(8))?;
    let mut entry = [0; 8];
    memory.read(at, &mut entry).ok()?;
    Some(Entry(u64::from_le_bytes(entry)))
}
