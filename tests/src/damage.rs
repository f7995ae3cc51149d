//! A kernel's memory with random damage to the data that describes it: VMCOREINFO, symbol table,
//! page tables and resource entry.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchdog_core::locate::{Finding, Kernel, Search, locate};
use watchdog_core::memory::{Memory, PhysAddr, PhysRange, RangeSet, ReadError};

use crate::machine::Ram;
use crate::nameless::{INDEX, is_token_index};
use crate::node_kernel::{FRAME, LARGE, NodeKernel, PAGE, PRESENT};
use crate::truth::Truth;

/// Bytes around the image that are searched as well.
const MARGIN: u64 = 2 << 20;

/// Bytes that a search may read: about ten times a kernel's memory.
pub const LIMIT: u64 = 1 << 30;

/// Searches at a time. Most of its time, a search waits for clocks that stand still here.
const THREADS: usize = 16;

/// Subsets of the witnesses besides the page tables.
const SUBSETS: usize = 8;

/// Results of many searches with damage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Located exactly where the kernel reports its text.
    pub right: usize,
    /// Not located.
    pub lost: usize,
    /// Located at any other place, or with another size.
    pub wrong: usize,
    /// Bytes that the longest search read.
    pub most: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right, lost, wrong, most } = self;
        write!(f, "{right} right, {lost} lost, {wrong} wrong; the longest read {most} bytes")
    }
}

/// A kernel's memory, copied from a paused machine, with the places to damage.
pub struct Specimen {
    truth: Truth,
    pieces: Vec<(u64, Vec<u8>)>,
    ranges: RangeSet,
    targets: Vec<Range<u64>>,
    /// VMCOREINFO, the resource entry and the token index of the symbol table.
    witnesses: [Vec<Range<u64>>; 3],
}

impl Specimen {
    /// Copies the memory of a kernel. The machine must be paused. A kernel may lack VMCOREINFO and
    /// the symbol table.
    ///
    /// # Errors
    /// If other data to damage is missing, or the copy is not located.
    pub fn take(node: &NodeKernel<'_>) -> Result<Self> {
        let ram = node.ram;
        let mut targets = targets(node)?;
        let notes: Vec<_> = node.notes()?.into_iter().map(|note| note..note + 1024).collect();
        targets.extend(notes.clone());
        let resource = node.symbol("code_resource")?;
        let resource = resource..resource + 32;
        let table = symbol_table(node)?;
        let index = table.first().cloned();
        targets.extend(table);
        let witnesses = [notes, vec![resource], index.into_iter().collect()];
        let Range { start, end } = node.image()?;
        let image = start.saturating_sub(MARGIN)..(end + MARGIN).min(ram.size());
        // Page tables that were split after boot, and the notes, may be anywhere.
        let pages = targets.iter().map(|target| target.start & !(PAGE - 1));
        let parts = pages.map(|page| page..page + PAGE).chain([image]);
        let parts: RangeSet = parts
            .filter_map(|part| PhysRange::new(PhysAddr(part.start), PhysAddr(part.end)))
            .collect();
        let pieces = parts.ranges().iter().map(|part| piece(ram, part.start().0..part.end().0));
        let specimen = Self {
            targets,
            witnesses,
            ..Self::of(node.truth.clone(), pieces.collect::<Result<_>>()?)
        };
        let (undamaged, _) = specimen.locate(&[])?;
        ensure!(undamaged.is_some(), "the kernel is not located in its own memory");
        Ok(specimen)
    }

    fn of(truth: Truth, pieces: Vec<(u64, Vec<u8>)>) -> Self {
        let ranges = pieces
            .iter()
            .filter_map(|(at, bytes)| PhysRange::with_size(PhysAddr(*at), bytes.len() as u64));
        let (targets, witnesses) = (Vec::new(), Default::default());
        Self { truth, ranges: ranges.collect(), pieces, targets, witnesses }
    }

    /// Wipes each subset of the witnesses besides the page tables. The kernel must be located
    /// exactly unless neither the resource entry nor the symbol table is left.
    ///
    /// # Errors
    /// If it is not, or the kernel lacks a witness.
    pub fn every_subset(&self) -> Result<()> {
        ensure!(self.witnesses.iter().all(|places| !places.is_empty()), "a witness is missing");
        for subset in 0..SUBSETS {
            let is_wiped = |n: usize| subset & 1 << n != 0;
            let (found, _) = self.locate(&self.wiped(subset))?;
            let is_enough = !(is_wiped(1) && is_wiped(2));
            let is_right = found.as_ref().is_some_and(|kernel| self.is_right(kernel));
            ensure!(
                found.is_some() == is_enough && is_right == is_enough,
                "without witnesses {subset:03b}, it is located as {:?}",
                found.map(|kernel| (kernel.text, kernel.witnesses))
            );
        }
        Ok(())
    }

    /// The writes that wipe a subset of the witnesses.
    fn wiped(&self, subset: usize) -> Vec<(u64, Vec<u8>)> {
        let wiped = self.witnesses.iter().enumerate().filter(|(n, _)| subset & 1 << n != 0);
        let places = wiped.flat_map(|(_, places)| places);
        places.map(|it| (it.start, vec![0; (it.end - it.start) as usize])).collect()
    }

    /// Searches `runs` times with seeded damage, many at a time. Every second time, some witnesses
    /// are wiped as well.
    ///
    /// # Errors
    /// If memory could not be read. Damage must not cause that.
    pub fn damage(&self, runs: usize, seed: u64) -> Result<Outcome> {
        let (next, total) = (AtomicUsize::new(0), Mutex::new(Outcome::default()));
        thread::scope(|scope| {
            let work = || -> Result<()> {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        return Ok(());
                    }
                    let writes = self.writes(seed.wrapping_add(run as u64));
                    let (found, read) = self.locate(&writes)?;
                    let mut total = total.lock().unwrap_or_else(|poison| poison.into_inner());
                    total.most = total.most.max(read);
                    match found {
                        None => total.lost += 1,
                        Some(kernel) if self.is_right(&kernel) => total.right += 1,
                        Some(kernel) => {
                            total.wrong += 1;
                            println!("wrong: seed {seed}, run {run}: {:?}", kernel.text);
                        }
                    }
                }
            };
            let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(total.into_inner().unwrap_or_else(|poison| poison.into_inner()))
    }

    fn is_right(&self, kernel: &Kernel) -> bool {
        let Truth { text_phys_start, text_phys_end, stext_virt, .. } = self.truth;
        let text = &kernel.text;
        text.phys.0 == text_phys_start
            && text.size == text_phys_end - text_phys_start
            && text.virt.0 == stext_virt
    }

    /// Returns the kernel that is found with these writes, and the number of bytes read. If several
    /// kernels are found and one of them is wrong, it returns that one.
    fn locate(&self, writes: &[(u64, Vec<u8>)]) -> Result<(Option<Kernel>, u64)> {
        let memory = Damaged::of(self, self.pages(writes));
        let search = Search { gentle: true, ..Search::default() };
        let found = locate(&memory, &self.ranges, &search, &mut |_, _| ())?;
        let located = found.into_iter().filter_map(|finding| match finding {
            Finding::Located(kernel) => Some(*kernel),
            Finding::Booting(_) | Finding::Lost(_) => None,
        });
        Ok((located.min_by_key(|kernel| self.is_right(kernel)), memory.read.into_inner()))
    }

    /// Returns the damage of one run: a few places of some bytes each, in one of several ways.
    fn writes(&self, seed: u64) -> Vec<(u64, Vec<u8>)> {
        let mut random = StdRng::seed_from_u64(seed);
        let subset = if seed.is_multiple_of(2) { 0 } else { random.random_range(0..SUBSETS) };
        let mut writes = self.wiped(subset);
        for _ in 0..random.random_range(1..=8) {
            let target = &self.targets[random.random_range(0..self.targets.len())];
            let at = random.random_range(target.clone());
            let length = random.random_range(1..=(target.end - at).min(64)) as usize;
            let mut old = vec![0; length];
            let read = Damaged::of(self, BTreeMap::new());
            if read.read(PhysAddr(at), &mut old).is_err() {
                continue;
            }
            let first = random.random_range(0..length);
            match random.random_range(0..6) {
                0 => old.fill(0),
                1 => old.fill(0xff),
                2 => old.fill_with(|| random.random()),
                3 => old[first] ^= 1 << random.random_range(0..8),
                // Small steps, like those of an attacker who wants the text a little shorter or
                // longer.
                4 => old[first] = old[first].wrapping_add(random.random_range(1..=16)),
                _ => old.rotate_left(first),
            }
            writes.push((at, old));
        }
        writes
    }

    /// Returns the pages that contain the writes, by address.
    fn pages(&self, writes: &[(u64, Vec<u8>)]) -> BTreeMap<u64, Vec<u8>> {
        let whole = Damaged::of(self, BTreeMap::new());
        let mut pages: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (at, bytes) in writes {
            for (at, byte) in (*at..).zip(bytes) {
                let page = at & !(PAGE - 1);
                let copy = pages.entry(page).or_insert_with(|| {
                    let mut copy = vec![0; PAGE as usize];
                    let _inside = whole.read(PhysAddr(page), &mut copy);
                    copy
                });
                copy[(at - page) as usize] = *byte;
            }
        }
        pages
    }
}

/// Copies a part of a machine's memory.
fn piece(ram: &Ram, range: Range<u64>) -> Result<(u64, Vec<u8>)> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
    ram.read(range.start, &mut bytes)?;
    Ok((range.start, bytes))
}

/// A specimen's memory with damaged pages over it.
struct Damaged<'a> {
    specimen: &'a Specimen,
    pages: BTreeMap<u64, Vec<u8>>,
    /// Number of bytes read.
    read: AtomicU64,
}

impl<'a> Damaged<'a> {
    fn of(specimen: &'a Specimen, pages: BTreeMap<u64, Vec<u8>>) -> Self {
        Self { specimen, pages, read: AtomicU64::default() }
    }
}

impl Memory for Damaged<'_> {
    fn ranges(&self) -> &RangeSet {
        &self.specimen.ranges
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let length = buffer.len() as u64;
        self.read.fetch_add(length, Ordering::Relaxed);
        let source = self.specimen.pieces.iter().find_map(|(start, bytes)| {
            let offset = usize::try_from(at.0.checked_sub(*start)?).ok()?;
            bytes.get(offset..offset.checked_add(buffer.len())?)
        });
        let outside = || ReadError::Outside { at, length, source_name: "specimen".to_owned() };
        buffer.copy_from_slice(source.ok_or_else(outside)?);
        for (page, bytes) in self.pages.range(at.0.saturating_sub(PAGE)..at.0 + length) {
            let (from, to) = ((*page).max(at.0), (page + PAGE).min(at.0 + length));
            if from < to {
                buffer[(from - at.0) as usize..(to - at.0) as usize]
                    .copy_from_slice(&bytes[(from - page) as usize..(to - page) as usize]);
            }
        }
        Ok(())
    }
}

/// Returns the data that describes a kernel in its own image: the resource entry, the banner, the
/// static page tables, the page tables that map the text, and the symbol table.
fn targets(node: &NodeKernel<'_>) -> Result<Vec<Range<u64>>> {
    let mut targets = Vec::new();
    for (name, size) in [
        ("code_resource", 96),
        ("linux_banner", 64),
        ("init_top_pgt", PAGE),
        ("level4_kernel_pgt", PAGE),
        ("level3_kernel_pgt", PAGE),
        ("level2_kernel_pgt", PAGE),
    ] {
        // A kernel for four paging levels has no `level4_kernel_pgt`.
        let Ok(at) = node.symbol(name) else { continue };
        targets.push(at..at + size);
    }
    // If the text is not mapped by large pages, there are tables of small ones.
    let level2 = node.symbol("level2_kernel_pgt")?;
    for at in (level2..level2 + PAGE).step_by(8) {
        let entry = node.word(at)?;
        if entry & (PRESENT | LARGE) == PRESENT {
            targets.push(entry & FRAME..(entry & FRAME) + PAGE);
        }
    }
    Ok(targets)
}

/// Finds the symbol table by its token index, as any program could, and returns the data around it.
/// Its parts are separate targets, so that small parts are hit as often as large ones. The first is
/// the index. A kernel without a symbol table has none of them.
fn symbol_table(node: &NodeKernel<'_>) -> Result<Vec<Range<u64>>> {
    let (start, bytes) = piece(node.ram, node.image()?)?;
    let is_index = |at: &usize| is_token_index(&bytes[*at..*at + INDEX]);
    let index = (0..bytes.len() - INDEX).step_by(4).find(is_index);
    let Some(index) = index.map(|index| index as u64 + start) else { return Ok(Vec::new()) };
    // The data next to the index is small and matters most. Names and offsets take megabytes.
    Ok(vec![
        index..index + 512,
        index - 2048..index,
        index - 0x1_0000..index,
        index - 0x40_0000..index,
        index + 512..index + 0x1000,
        index + 512..index + 0x10_0000,
    ])
}
