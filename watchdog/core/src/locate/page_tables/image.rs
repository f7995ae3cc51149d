//! Walks the kernel image mapping, from the root down.

use super::entry::{ENTRIES, Entry, Leads, Rights};
use super::{IMAGE_MAPPING, Run, Runs, Tables};
use crate::locate::bytes::{copy, u64_at};
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, VirtAddr};

/// The runs of the image mapping, 1 GiB from [`IMAGE_MAPPING`] on, in ascending order. Reads at
/// most one page of each upper level and 512 page tables, whatever they hold.
///
/// `None` if the upper levels do not lead there.
pub(in crate::locate) fn image_runs(memory: &dyn Memory, tables: &Tables) -> Option<Vec<Run>> {
    let (mut table, mut rights) = (tables.root, Rights::ALL);
    for level in (4..=tables.levels).rev() {
        let entry = tables.entry(memory, table, 511)?;
        let Leads::Table(next) = entry.leads(level) else { return None };
        (table, rights) = (next, rights.and(entry));
    }
    let entry = tables.entry(memory, table, 510)?;
    let rights = rights.and(entry);
    let mut runs = Runs::default();
    match entry.leads(3) {
        Leads::Nowhere => return None,
        Leads::Memory(phys, size) => runs.add(VirtAddr(IMAGE_MAPPING), phys, size, rights),
        Leads::Table(level2) => {
            each_entry(memory, level2, 21, IMAGE_MAPPING, &mut |virt, entry| {
                let entry = tables.decrypted(entry);
                let rights = rights.and(entry);
                match entry.leads(2) {
                    Leads::Nowhere => {}
                    Leads::Memory(phys, size) => runs.add(VirtAddr(virt), phys, size, rights),
                    Leads::Table(level1) => {
                        // A table that cannot be read maps nothing that could be read either.
                        let _unreadable =
                            each_entry(memory, level1, 12, virt, &mut |virt, entry| {
                                let entry = tables.decrypted(entry);
                                if let Leads::Memory(phys, size) = entry.leads(1) {
                                    runs.add(VirtAddr(virt), phys, size, rights.and(entry));
                                }
                            });
                    }
                }
            })?;
        }
    }
    Some(runs.0)
}

/// Calls `look` with each entry of a copied table, and with the virtual address of the `1 << shift`
/// bytes that the entry maps. The table's first entry maps `virt`.
fn each_entry(
    memory: &dyn Memory,
    table: PhysAddr,
    shift: u32,
    virt: u64,
    look: &mut dyn FnMut(u64, Entry),
) -> Option<()> {
    let page = copy(memory, table, PAGE_SIZE as usize)?;
    for n in 0..ENTRIES {
        let entry = Entry(u64_at(&page, n.saturating_mul(8))?);
        look(virt.saturating_add((n as u64) << shift), entry);
    }
    Some(())
}
