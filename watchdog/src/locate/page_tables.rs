//! Witness: the page tables of the kernel image mapping, found by their shape.
//!
//! `level3_kernel_pgt` is static data of every x86-64 kernel (arch/x86/kernel/head_64.S, 5.10 to
//! 7.2): 510 empty entries, then one for the kernel image mapping (`level2_kernel_pgt`,
//! 0xffffffff80000000 and up) and one for the fixmap. `init_top_pgt` lies near it and leads to it
//! by its last entry, with five levels through `level4_kernel_pgt`. After boot the text is the one
//! executable run of the image mapping, read-only, and ends at the page-rounded `_etext`.

use super::bytes::{copy, u64_at};
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};

/// `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h).
pub(super) const IMAGE_MAPPING: u64 = 0xffff_ffff_8000_0000;

const ENTRIES: usize = 512;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// Pages around `level3_kernel_pgt` in which `init_top_pgt` is looked for.
const NEIGHBOURS: u64 = 64;

/// A stretch of the image mapping, contiguous in both address spaces, of equal permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First virtual address.
    pub(super) virt: VirtAddr,
    /// First physical address.
    pub(super) phys: PhysAddr,
    /// Bytes.
    pub(super) size: u64,
    /// Effective permissions, of all levels together.
    pub(super) writable: bool,
    /// Not NX at any level.
    pub(super) executable: bool,
    /// User mode may use it.
    pub(super) user: bool,
}

impl Run {
    /// The physical memory of the run.
    pub(super) fn frames(&self) -> Option<PhysRange> {
        PhysRange::with_size(self.phys, self.size)
    }
}

/// What the page tables say of a kernel.
#[derive(Clone, Debug)]
pub(super) struct MappingClaim {
    /// Physical address of `init_top_pgt`.
    pub(super) root: PhysAddr,
    /// 4 or 5.
    pub(super) levels: u8,
    /// The largest executable run of the image mapping.
    pub(super) text: Run,
}

/// Whether a page has the shape of `level3_kernel_pgt`.
pub(super) fn looks_like_level3(page: &[u8]) -> bool {
    let entry = |n: usize| u64_at(page, n.saturating_mul(8)).unwrap_or_default();
    let is_table = |entry: u64| entry & PRESENT != 0 && entry & FRAME != 0;
    is_table(entry(510)) && is_table(entry(511)) && (0..510).all(|n| entry(n) == 0)
}

/// Follows `level3_kernel_pgt` at physical `level3`: up to the root, and down to the text.
pub(super) fn claim(memory: &dyn Memory, level3: PhysAddr) -> Option<MappingClaim> {
    let (root, levels) = find_root(memory, level3)?;
    let runs = image_runs(memory, root, levels)?;
    let text = runs.into_iter().filter(|run| run.executable).max_by_key(|run| run.size)?;
    Some(MappingClaim { root, levels, text })
}

/// The page table that leads to `level3` by its last entries, and how many levels that makes.
fn find_root(memory: &dyn Memory, level3: PhysAddr) -> Option<(PhysAddr, u8)> {
    let around = NEIGHBOURS.saturating_mul(PAGE_SIZE);
    let first = level3.0.saturating_sub(around);
    let near: Vec<(PhysAddr, Vec<u8>)> = (0..=NEIGHBOURS.saturating_mul(2))
        .filter_map(|n| first.checked_add(n.saturating_mul(PAGE_SIZE)).map(PhysAddr))
        .filter_map(|at| Some((at, copy(memory, at, PAGE_SIZE as usize)?)))
        .collect();
    let leads_to = |page: &[u8], table: PhysAddr| {
        u64_at(page, 511 * 8).is_some_and(|entry| entry & PRESENT != 0 && entry & FRAME == table.0)
    };
    let pointing = |table: PhysAddr| near.iter().filter(move |(_, page)| leads_to(page, table));
    if let Some((root, _)) = pointing(level3).find_map(|(level4, _)| pointing(*level4).next()) {
        return Some((*root, 5));
    }
    // With four levels `level4_kernel_pgt` may point here too, unused and otherwise empty; the
    // root maps all of the kernel, the direct map at least.
    let is_top = |page: &[u8]| {
        (256..511_usize).any(|n| u64_at(page, n.saturating_mul(8)).is_some_and(|e| e != 0))
    };
    pointing(level3).find(|(_, page)| is_top(page)).map(|(root, _)| (*root, 4))
}

/// Permissions gathered on the way down.
#[derive(Clone, Copy)]
struct Permissions {
    writable: bool,
    executable: bool,
    user: bool,
}

impl Permissions {
    const ALL: Self = Self { writable: true, executable: true, user: true };

    fn and(self, entry: u64) -> Self {
        Self {
            writable: self.writable && entry & WRITABLE != 0,
            executable: self.executable && entry & NO_EXECUTE == 0,
            user: self.user && entry & USER != 0,
        }
    }
}

/// Walks the image mapping, 1 GiB from [`IMAGE_MAPPING`] on, from the root down: at most one page
/// of each upper level and 512 page tables are read, whatever they hold.
pub(super) fn image_runs(memory: &dyn Memory, root: PhysAddr, levels: u8) -> Option<Vec<Run>> {
    let mut permissions = Permissions::ALL;
    let mut table = root;
    let path: &[usize] = if levels == 5 { &[511, 511] } else { &[511] };
    for &index in path {
        let entry = read_entry(memory, table, index)?;
        permissions = permissions.and(entry);
        table = PhysAddr(entry & FRAME);
    }
    let entry = read_entry(memory, table, 510)?;
    let permissions = permissions.and(entry);
    let mut runs = Runs::default();
    if entry & LARGE != 0 {
        runs.add(0, PhysAddr(entry & FRAME & !0x3fff_ffff), 1 << 30, permissions);
        return Some(runs.0);
    }
    let level2 = copy(memory, PhysAddr(entry & FRAME), PAGE_SIZE as usize)?;
    for n in 0..ENTRIES {
        let entry = u64_at(&level2, n.saturating_mul(8))?;
        if entry & PRESENT == 0 {
            continue;
        }
        let permissions = permissions.and(entry);
        let offset = (n as u64) << 21;
        if entry & LARGE != 0 {
            runs.add(offset, PhysAddr(entry & FRAME & !0x1f_ffff), 1 << 21, permissions);
            continue;
        }
        // A table that cannot be read maps nothing that could be read either.
        let Some(level1) = copy(memory, PhysAddr(entry & FRAME), PAGE_SIZE as usize) else {
            continue;
        };
        for page in 0..ENTRIES {
            let entry = u64_at(&level1, page.saturating_mul(8))?;
            if entry & PRESENT != 0 {
                let offset = offset | ((page as u64) << 12);
                let frame = PhysAddr(entry & FRAME);
                runs.add(offset, frame, PAGE_SIZE, permissions.and(entry));
            }
        }
    }
    Some(runs.0)
}

/// A present entry of a table.
fn read_entry(memory: &dyn Memory, table: PhysAddr, index: usize) -> Option<u64> {
    let at = table.checked_add((index as u64).saturating_mul(8))?;
    let entry = u64_at(&copy(memory, at, 8)?, 0)?;
    (entry & PRESENT != 0).then_some(entry)
}

/// Runs in the making.
#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    /// Adds a mapping at `offset` into the image mapping, to the last run if it continues that.
    fn add(&mut self, offset: u64, phys: PhysAddr, size: u64, permissions: Permissions) {
        let Permissions { writable, executable, user } = permissions;
        let virt = VirtAddr(IMAGE_MAPPING.saturating_add(offset));
        if let Some(last) = self.0.last_mut()
            && last.virt.checked_add(last.size) == Some(virt)
            && last.phys.checked_add(last.size) == Some(phys)
            && (last.writable, last.executable, last.user) == (writable, executable, user)
        {
            last.size = last.size.saturating_add(size);
            return;
        }
        self.0.push(Run { virt, phys, size, writable, executable, user });
    }
}
