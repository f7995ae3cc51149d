//! Witness: the page tables of the kernel image mapping, found by their shape.
//!
//! `level3_kernel_pgt` is static data of every x86-64 kernel (arch/x86/kernel/head_64.S, 5.10 to
//! 7.2). It has 510 empty entries, then one for the kernel image mapping (`level2_kernel_pgt`,
//! 0xffffffff80000000 and up) and one for the fixmap. `init_top_pgt` lies near it. The last entry
//! of `init_top_pgt` leads to it, with five levels through `level4_kernel_pgt`. After boot, the
//! text is the only executable run of the image mapping. It is read-only, and ends at the
//! page-rounded `_etext`. Without write protection, all of the image is executable and writable.

mod alias;
mod encryption;
mod entry;
mod image;
mod tables;

pub use alias::{Aliases, aliases};
use entry::{Entry, Leads, Rights};
pub(super) use image::image_runs;
pub use tables::Tables;

use super::Budget;
use super::bytes::{copy, u64_at};
use super::explain::SPENT;
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};

/// `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h).
pub(super) const IMAGE_MAPPING: u64 = 0xffff_ffff_8000_0000;

/// Bytes from there to the modules of a kernel without `CONFIG_RANDOMIZE_BASE`
/// (`KERNEL_IMAGE_SIZE`). Modules of other kernels are 1 GiB away, behind what is walked here.
pub(super) const NEAR_MODULES: u64 = 512 << 20;

/// Pages on each side of `level3_kernel_pgt` that are searched for `init_top_pgt`.
const NEIGHBOURS: u64 = 64;

/// Cost of finding a root, and of walking from it, in bytes examined.
const ROOT_COST: usize = 64 * (2 * NEIGHBOURS as usize + 1);
const WALK_COST: usize = 514 * PAGE_SIZE as usize;

/// A stretch of mappings with equal permissions, contiguous in both address spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First virtual address.
    pub virt: VirtAddr,
    /// First physical address.
    pub phys: PhysAddr,
    /// Bytes.
    pub size: u64,
    /// Writable at every level.
    pub writable: bool,
    /// Not NX at any level.
    pub executable: bool,
    /// Open to user mode at every level.
    pub user: bool,
}

impl Run {
    /// The physical memory of the run.
    #[must_use]
    pub fn frames(&self) -> Option<PhysRange> {
        PhysRange::with_size(self.phys, self.size)
    }

    /// Whether `next` begins where this run ends, in both address spaces.
    fn continues_in(&self, next: &Self) -> bool {
        self.virt.checked_add(self.size) == Some(next.virt)
            && self.phys.checked_add(self.size) == Some(next.phys)
    }
}

/// The claim of the page tables about a kernel.
#[derive(Clone, Debug)]
pub struct MappingClaim {
    /// The tables that the claim comes from.
    pub tables: Tables,
    /// The largest executable stretch of the image mapping; writable only if all of it is. If it is
    /// writable, the first such stretch of the image.
    pub text: Run,
    /// Physical memory of the image: from the text to the last page that is mapped at the same
    /// distance between virtual and physical address.
    pub image: PhysRange,
}

/// Whether a page has the shape of `level3_kernel_pgt`.
#[must_use]
pub fn looks_like_level3(page: &[u8]) -> bool {
    let entry = |n: usize| u64_at(page, n.saturating_mul(8)).unwrap_or_default();
    let leads = |n: usize| match Entry(entry(n)).leads(3) {
        Leads::Nowhere => false,
        Leads::Table(at) | Leads::Memory(at, _) => at.0 != 0,
    };
    leads(510) && leads(511) && (0..510).all(|n| entry(n) == 0)
}

/// Follows `level3_kernel_pgt` at physical `level3`: up to the root, then down to the text.
#[must_use]
pub fn claim(memory: &dyn Memory, level3: PhysAddr, budget: &mut Budget) -> Option<MappingClaim> {
    examine(memory, level3, budget).ok()
}

/// As [`claim`]; the error is the check that failed.
pub(super) fn examine(
    memory: &dyn Memory,
    level3: PhysAddr,
    budget: &mut Budget,
) -> Result<MappingClaim, &'static str> {
    budget.spend(ROOT_COST).ok_or(SPENT)?;
    let encryption = encryption::bit(memory, level3);
    let tables = find_root(memory, level3, encryption);
    let tables = tables.ok_or("no page table within 64 pages leads to it as a root does")?;
    budget.spend(WALK_COST).ok_or(SPENT)?;
    let runs = image_runs(memory, &tables);
    let runs = runs.ok_or("its root does not lead to a kernel image mapping")?;
    let stretches = executable(&runs);
    let largest = stretches.iter().max_by_key(|run| run.size);
    let largest = *largest.ok_or("its kernel image mapping has no executable page")?;
    let text = if largest.writable { first_of(&stretches, &largest) } else { largest };
    let image = extent(&runs, &text).ok_or("its text ends beyond all memory")?;
    Ok(MappingClaim { tables, text, image })
}

/// The first stretch of the image that a writable one belongs to. Without write protection, all of
/// the image is executable and begins with the text, and its data may be the larger part.
fn first_of(stretches: &[Run], part: &Run) -> Run {
    let apart = |run: &Run| run.virt.0.wrapping_sub(run.phys.0);
    let first = stretches.iter().find(|run| run.writable && apart(run) == apart(part));
    *first.unwrap_or(part)
}

/// The memory of the image around a text: what is mapped behind the text at the same distance.
/// Pages between may be unmapped, as freed init memory is.
fn extent(runs: &[Run], text: &Run) -> Option<PhysRange> {
    let apart = |run: &Run| run.virt.0.wrapping_sub(run.phys.0);
    let of_image = runs.iter().filter(|run| run.virt >= text.virt && apart(run) == apart(text));
    let ends = of_image.filter_map(|run| run.phys.checked_add(run.size));
    PhysRange::new(text.phys, ends.max()?)
}

/// The executable stretches of some runs, whatever other rights they have: a text that is writable
/// in part is one text. A stretch is writable, or open to user mode, only if all of it is.
pub(super) fn executable(runs: &[Run]) -> Vec<Run> {
    let mut stretches: Vec<Run> = Vec::new();
    for run in runs.iter().filter(|run| run.executable) {
        if let Some(last) = stretches.last_mut().filter(|last| last.continues_in(run)) {
            last.size = last.size.saturating_add(run.size);
            last.writable &= run.writable;
            last.user &= run.user;
        } else {
            stretches.push(*run);
        }
    }
    stretches
}

/// The tables whose last entries lead to `level3`.
fn find_root(memory: &dyn Memory, level3: PhysAddr, encryption: u64) -> Option<Tables> {
    let tables = |root, levels| Tables { root, levels, encryption };
    let around = NEIGHBOURS.saturating_mul(PAGE_SIZE);
    let first = level3.0.saturating_sub(around);
    // Of most pages, only the last entry is read.
    let near: Vec<(PhysAddr, Entry)> = (0..=NEIGHBOURS.saturating_mul(2))
        .filter_map(|n| first.checked_add(n.saturating_mul(PAGE_SIZE)).map(PhysAddr))
        .filter_map(|at| Some((at, tables(at, 0).entry(memory, at, 511)?)))
        .collect();
    let pointing = |table: PhysAddr| {
        let leads = move |entry: Entry| entry.leads(4) == Leads::Table(table);
        near.iter().filter(move |(_, entry)| leads(*entry)).map(|(at, _)| *at)
    };
    if let Some(root) = pointing(level3).find_map(|level4| pointing(level4).next()) {
        return Some(tables(root, 5));
    }
    // With four levels, `level4_kernel_pgt` may also point here, unused and otherwise empty. The
    // root maps the whole kernel, at least its direct map.
    let is_top = |at: PhysAddr| {
        let page = copy(memory, at, PAGE_SIZE as usize).unwrap_or_default();
        (256..511_usize).any(|n| u64_at(&page, n.saturating_mul(8)).is_some_and(|e| e != 0))
    };
    pointing(level3).find(|at| is_top(*at)).map(|root| tables(root, 4))
}

/// Runs under construction.
#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    /// Adds a mapping. Extends the last run if the mapping continues it.
    fn add(&mut self, virt: VirtAddr, phys: PhysAddr, size: u64, rights: Rights) {
        let Rights { writable, executable, user } = rights;
        let run = Run { virt, phys, size, writable, executable, user };
        let rights = |run: &Run| (run.writable, run.executable, run.user);
        match self.0.last_mut().filter(|last| last.continues_in(&run)) {
            Some(last) if rights(last) == rights(&run) => {
                last.size = last.size.saturating_add(size);
            }
            _ => self.0.push(run),
        }
    }
}

/// Translates a virtual address: the result is the rest of its page, at most [`PAGE_SIZE`] bytes.
///
/// Reads one entry of each level. `None` if the address is not mapped.
#[must_use]
pub fn translate(memory: &dyn Memory, tables: &Tables, virt: VirtAddr) -> Option<Run> {
    let (mut table, mut rights) = (tables.root, Rights::ALL);
    for level in (1..=tables.levels.min(5)).rev() {
        let shift = u32::from(level.checked_sub(1)?).checked_mul(9)?.checked_add(12)?;
        let index = usize::try_from(virt.0 >> shift & 511).ok()?;
        let entry = tables.entry(memory, table, index)?;
        rights = rights.and(entry);
        match entry.leads(level) {
            Leads::Nowhere => return None,
            Leads::Table(next) => table = next,
            Leads::Memory(frame, size) => {
                let within = virt.0 & size.checked_sub(1)?;
                let Rights { writable, executable, user } = rights;
                let phys = frame.checked_add(within)?;
                let size = PAGE_SIZE.checked_sub(virt.0 & PAGE_SIZE.checked_sub(1)?)?;
                return Some(Run { virt, phys, size, writable, executable, user });
            }
        }
    }
    None
}
