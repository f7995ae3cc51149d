//! Finds other mappings of the text's frames, anywhere in the kernel's own address space, that are
//! writable or open to user mode.
//!
//! The direct map holds every frame a second time. When a healthy kernel has booted, both mappings
//! of its text are read-only (`mark_rodata_ro`, arch/x86/mm/init_64.c, through the alias handling
//! of arch/x86/mm/pat/set_memory.c), and no user mapping of it exists.

use std::collections::HashSet;

use super::entry::{ENTRIES, Entry, Leads, Rights};
use super::{Run, Runs, Tables};
use crate::locate::bytes::{copy, u64_at};
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};

/// Most tables that are read, whatever they hold. They suffice to map all of memory by the smallest
/// pages four times over, and some addresses that are not memory.
const BASE_TABLES: u64 = 4096;
const TABLES_PER_LARGE_PAGE: u64 = 4;
/// Most runs that are listed.
const LISTED: usize = 16;

/// Forbidden mappings of some frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// Runs that are writable or open to user mode, clipped to the frames; the first 16.
    pub runs: Vec<Run>,
    /// Whether every table was read. A kernel with more tables than a machine of its size needs
    /// hides something, or its tables loop.
    pub complete: bool,
}

/// Walks all page tables from their root, for writable or user mappings of `frames`. Each
/// table is read once for each level and set of rights, so loops end. `memory_size` (bytes) limits
/// the number of tables.
#[must_use]
pub fn aliases(
    memory: &dyn Memory,
    tables: &Tables,
    frames: PhysRange,
    memory_size: u64,
) -> Aliases {
    let large_pages = memory_size >> 21;
    let mut walk = Walk {
        memory,
        frames,
        tables: *tables,
        left: BASE_TABLES.saturating_add(large_pages.saturating_mul(TABLES_PER_LARGE_PAGE)),
        seen: HashSet::new(),
        runs: Runs::default(),
        complete: true,
    };
    walk.table(tables.root, tables.levels, 0, Rights::ALL);
    let mut runs = walk.runs.0;
    runs.truncate(LISTED);
    Aliases { runs, complete: walk.complete }
}

struct Walk<'a> {
    memory: &'a dyn Memory,
    frames: PhysRange,
    tables: Tables,
    left: u64,
    seen: HashSet<(PhysAddr, u8, Rights)>,
    runs: Runs,
    complete: bool,
}

impl Walk<'_> {
    /// Walks one table, at most five deep: `level` decreases to 1.
    fn table(&mut self, table: PhysAddr, level: u8, virt: u64, rights: Rights) {
        // Skip a table under which nothing can be writable or open to user mode, and one walked
        // before.
        if !rights.writable && !rights.user || !self.seen.insert((table, level, rights)) {
            return;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.complete = false;
            return;
        };
        self.left = left;
        // A table that cannot be read maps nothing that could be read either.
        let Some(page) = copy(self.memory, table, PAGE_SIZE as usize) else { return };
        let shift = u32::from(level.saturating_sub(1)).saturating_mul(9).saturating_add(12);
        for n in 0..ENTRIES {
            let entry = Entry(u64_at(&page, n.saturating_mul(8)).unwrap_or_default());
            let entry = self.tables.decrypted(entry);
            let virt = virt | (n as u64).checked_shl(shift).unwrap_or_default();
            match entry.leads(level) {
                Leads::Nowhere => {}
                Leads::Table(next) => {
                    self.table(next, level.saturating_sub(1), virt, rights.and(entry));
                }
                Leads::Memory(phys, size) => self.leaf(virt, phys, size, rights.and(entry)),
            }
        }
    }

    fn leaf(&mut self, virt: u64, phys: PhysAddr, size: u64, rights: Rights) {
        let part = PhysRange::with_size(phys, size).and_then(|has| has.intersection(&self.frames));
        let Some(part) = part.filter(|_| rights.writable || rights.user) else { return };
        if self.runs.0.len() <= LISTED {
            let offset = part.start().checked_sub(phys).unwrap_or_default();
            let virt = VirtAddr(self.canonical(virt).saturating_add(offset));
            self.runs.add(virt, part.start(), part.size(), rights);
        }
    }

    /// The address as the processor writes it: all higher bits equal the highest translated bit (47
    /// with four levels, 56 with five).
    fn canonical(&self, virt: u64) -> u64 {
        let top = 1_u64 << if self.tables.levels == 5 { 56 } else { 47 };
        if virt & top == 0 { virt } else { virt | !top.saturating_sub(1) }
    }
}
