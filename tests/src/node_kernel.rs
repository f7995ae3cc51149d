//! The kernel of a running node, read and changed from the host, as an attacker inside the node or
//! a device could change it. Independent of the watchdog's page table walker and decoder.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context, Result, ensure};

use crate::machine::{Machine, Ram};
use crate::truth::Truth;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Address bits of a page table entry.
pub const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// The entry is present.
pub const PRESENT: u64 = 1;
/// The entry allows writing.
pub const WRITABLE: u64 = 1 << 1;
/// The entry allows access from user mode.
pub const USER: u64 = 1 << 2;
/// The entry maps a large page.
pub const LARGE: u64 = 1 << 7;
/// The entry forbids execution.
pub const NO_EXECUTE: u64 = 1 << 63;

/// Memory that the node machine reserves and gives to no node: a place for planted copies.
pub const UNOWNED_MEMORY: u64 = 0x2400_0000;

/// Symbols whose addresses are needed.
pub const SYMBOLS: [&str; 10] = [
    "_text",
    "_stext",
    "_end",
    "init_top_pgt",
    "level4_kernel_pgt",
    "level3_kernel_pgt",
    "level2_kernel_pgt",
    "code_resource",
    "linux_banner",
    "page_offset_base",
];

/// A node's kernel with access to its memory.
pub struct NodeKernel<'a> {
    /// The machine's memory.
    pub ram: &'a Ram,
    /// What the kernel reports about its text.
    pub truth: Truth,
    /// Physical addresses of [`SYMBOLS`].
    symbols: BTreeMap<&'static str, u64>,
}

impl<'a> NodeKernel<'a> {
    /// Returns the kernel of a service node that runs the same kernel as node 0. The symbols come
    /// from node 0.
    ///
    /// # Errors
    /// If a node does not answer.
    pub fn of(machine: &'a Machine, node: u8) -> Result<Self> {
        let kallsyms = String::from_utf8(machine.node0().read("/proc/kallsyms")?)?;
        let mut there = BTreeMap::new();
        for line in kallsyms.lines() {
            let mut words = line.split_whitespace();
            if let (Some(address), Some(name)) = (words.next(), words.nth(1)) {
                there.entry(name).or_insert(u64::from_str_radix(address, 16)?);
            }
        }
        let stext = *there.get("_stext").context("node 0 shows no symbols")?;
        let distance = |name: &str| Some(there.get(name)?.wrapping_sub(stext));
        Ok(Self::new(machine.ram(), machine.truth(node)?, distance))
    }

    /// Makes a kernel from its report and the distances of its symbols from `_stext`, as far as it
    /// has them.
    pub fn new(ram: &'a Ram, truth: Truth, distance: impl Fn(&str) -> Option<u64>) -> Self {
        let place =
            |name: &'static str| Some((name, truth.text_phys_start.wrapping_add(distance(name)?)));
        let symbols = SYMBOLS.into_iter().filter_map(place).collect();
        Self { ram, truth, symbols }
    }

    /// Returns the physical address of one of [`SYMBOLS`].
    ///
    /// # Errors
    /// If the name is not one of them, or the kernel does not have it.
    pub fn symbol(&self, name: &str) -> Result<u64> {
        self.symbols.get(name).copied().with_context(|| format!("no symbol {name}"))
    }

    /// Returns the physical memory of the whole image.
    ///
    /// # Errors
    /// If its bounds have no symbols.
    pub fn image(&self) -> Result<Range<u64>> {
        Ok(self.symbol("_text")?..self.symbol("_end")?)
    }

    /// Returns the levels of its page tables: with five, the root leads through
    /// `level4_kernel_pgt`.
    ///
    /// # Errors
    /// If there is no such memory.
    pub fn levels(&self) -> Result<u8> {
        let entry = self.word(self.symbol("init_top_pgt")? + 511 * 8)?;
        Ok(if entry & FRAME == self.symbol("level4_kernel_pgt")? { 5 } else { 4 })
    }

    /// Reads a number.
    ///
    /// # Errors
    /// If there is no such memory.
    pub fn word(&self, at: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.ram.read(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a number, as a device would. Returns the old one.
    ///
    /// # Errors
    /// If there is no such memory.
    pub fn set(&self, at: u64, value: u64) -> Result<u64> {
        let old = self.word(at)?;
        self.ram.write(at, &value.to_le_bytes())?;
        Ok(old)
    }

    /// Returns the physical addresses of the entries that translate `virt`, from the root down to
    /// the entry that maps memory.
    ///
    /// # Errors
    /// If the address is not mapped.
    pub fn entries(&self, virt: u64) -> Result<Vec<u64>> {
        let mut table = self.symbol("init_top_pgt")?;
        let mut entries = Vec::new();
        for level in (1..=self.levels()?).rev() {
            let index = (virt >> (12 + 9 * u32::from(level - 1))) & 511;
            let at = table + index * 8;
            let entry = self.word(at)?;
            ensure!(entry & PRESENT != 0, "virtual {virt:#x} is not mapped at level {level}");
            entries.push(at);
            if level == 1 || (level < 4 && entry & LARGE != 0) {
                break;
            }
            table = entry & FRAME;
        }
        Ok(entries)
    }

    /// Returns the virtual address of a physical one in the kernel's direct map.
    ///
    /// # Errors
    /// If the kernel's `page_offset_base` cannot be read.
    pub fn direct_map(&self, phys: u64) -> Result<u64> {
        Ok(self.word(self.symbol("page_offset_base")?)?.wrapping_add(phys))
    }

    /// Returns the pages that begin with this kernel's VMCOREINFO, with or without a note's header.
    ///
    /// # Errors
    /// If memory cannot be read.
    pub fn notes(&self) -> Result<BTreeSet<u64>> {
        let sign = format!("OSRELEASE={}\n", self.truth.release);
        let stext = format!("SYMBOL(_stext)={:x}\n", self.truth.stext_virt);
        let mut chunk = vec![0; 1 << 20];
        let mut notes = BTreeSet::new();
        for start in (0..self.ram.size()).step_by(chunk.len()) {
            self.ram.read(start, &mut chunk)?;
            for (n, page) in (0..).zip(chunk.chunks(PAGE as usize)) {
                let begins = page.starts_with(sign.as_bytes())
                    || page.get(24..).is_some_and(|page| page.starts_with(sign.as_bytes()));
                if begins && String::from_utf8_lossy(page).contains(&stext) {
                    notes.insert(start + n * PAGE);
                }
            }
        }
        Ok(notes)
    }

    /// Plants a complete copy of the kernel with its text at physical `at`. Its page tables, symbol
    /// table, resource entry and VMCOREINFO all match that address. Only its clocks stand still.
    ///
    /// # Errors
    /// If the kernel's structures are not as expected.
    pub fn plant_decoy(&self, at: u64) -> Result<()> {
        let Range { start, end } = self.image()?;
        let (size, delta) = (end - start, at.wrapping_sub(start));
        let mut image = vec![0; usize::try_from(size)?];
        self.ram.read(start, &mut image)?;
        self.ram.write(at, &image)?;
        // After the image: the page tables that were split after boot, then the note.
        let mut free = (at + size).next_multiple_of(PAGE);
        for table in ["init_top_pgt", "level4_kernel_pgt", "level3_kernel_pgt", "level2_kernel_pgt"]
        {
            let level2 = table == "level2_kernel_pgt";
            self.relocate(self.symbol(table)?.wrapping_add(delta), delta, level2, &mut free)?;
        }
        let resource = self.symbol("code_resource")?;
        for field in [resource, resource + 8] {
            let value = self.word(field)?.wrapping_add(delta);
            self.set(field.wrapping_add(delta), value)?;
        }
        let mut note = vec![0; PAGE as usize];
        self.ram.read(self.notes()?.into_iter().next().context("no note")?, &mut note)?;
        let text = String::from_utf8_lossy(&note);
        let text = &text[text.find("OSRELEASE=").context("no release")?..];
        let text = text.trim_end_matches('\0');
        let (before, after) = text.split_once("NUMBER(phys_base)=").context("no phys_base")?;
        let (base, after) = after.split_once('\n').context("no end")?;
        let base = base.parse::<i64>()?.wrapping_add(delta.cast_signed());
        self.ram.write(free, format!("{before}NUMBER(phys_base)={base}\n{after}").as_bytes())
    }

    /// Changes the entries of a copied table that lead into the image, so that they lead into its
    /// copy.
    fn relocate(&self, table: u64, delta: u64, split: bool, free: &mut u64) -> Result<()> {
        for at in (table..table + PAGE).step_by(8) {
            let entry = self.word(at)?;
            let frame = entry & FRAME;
            if entry & PRESENT == 0 {
                continue;
            }
            if split && entry & LARGE == 0 {
                let mut page = vec![0; PAGE as usize];
                self.ram.read(frame, &mut page)?;
                self.ram.write(*free, &page)?;
                self.relocate(*free, delta, false, &mut 0)?;
                self.set(at, (entry & !FRAME) | *free)?;
                *free += PAGE;
            } else if self.image()?.contains(&frame) {
                self.set(at, entry.wrapping_add(delta))?;
            }
        }
        Ok(())
    }

    /// Clears the copy that was planted at `at`.
    ///
    /// # Errors
    /// If there is no such memory.
    pub fn clear_decoy(&self, at: u64) -> Result<()> {
        let Range { start, end } = self.image()?;
        let size = (end - start).next_multiple_of(PAGE) + 64 * PAGE;
        self.ram.write(at, &vec![0; usize::try_from(size)?])
    }
}
