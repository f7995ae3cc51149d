//! Page tables for the first instructions of a node: 4 GiB, one to one, in 2 MiB pages. The
//! kernel's own entry code replaces them immediately.

use anyhow::Result;

use crate::memory::NodeMemory;

/// Size of the physical memory that the tables map.
pub(crate) const MAPPED: u64 = 4 << 30;

const PAGE: u64 = 0x1000;
const PRESENT_WRITABLE: u64 = 0x3;
const LARGE: u64 = 0x80;

/// Writes the tables: the top level at `at`, one table below it, and four tables of 512 entries.
/// Each has one page.
pub(crate) fn write(memory: &NodeMemory, at: u64) -> Result<()> {
    let directories = at + 2 * PAGE;
    let top = [(at + PAGE) | PRESENT_WRITABLE];
    let pointers: Vec<u64> =
        (0..4).map(|gib| (directories + gib * PAGE) | PRESENT_WRITABLE).collect();
    let pages: Vec<u64> =
        (0..4 * 512).map(|page| (page << 21) | LARGE | PRESENT_WRITABLE).collect();
    memory.write(at, &[0; 2 * PAGE as usize])?;
    for (table, entries) in [(at, &top[..]), (at + PAGE, &pointers), (directories, &pages)] {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        memory.write(table, &bytes)?;
    }
    Ok(())
}
