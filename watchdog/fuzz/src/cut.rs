//! Cuts a real kernel in an image of a machine's memory down to an input. The input has the records
//! that locate the kernel, and about 1100 of its hundred thousand symbols.
//!
//! VMCOREINFO gives the places of the symbol tables, since 6.0 (kernel/vmcore_info.c). The image is
//! trusted to come from a healthy machine, because this only makes seeds.

use anyhow::{Context, Result, ensure};
use watchdog_core::locate::Kernel;
use watchdog_core::memory::{Memory, PAGE_SIZE, PhysAddr};

use crate::Encoder;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// The name of the kernel's text among its resources.
const NAME: &[u8; 12] = b"Kernel code\0";
const FIRST_KEY: &[u8] = b"OSRELEASE=";
/// Number of symbols that are taken besides the named ones.
const SYMBOLS: usize = 1100;
/// Symbols that the witnesses need.
const KEPT: [&str; 5] = ["_text", "_stext", "_etext", "linux_banner", "_end"];
/// Symbols between two markers (scripts/kallsyms.c).
const MARKER_STEP: usize = 256;

/// Cuts a kernel that was located in `image` down to an input.
///
/// # Errors
/// When the image lacks data that every kernel since 6.1 has.
pub fn cut(image: &dyn Memory, kernel: &Kernel) -> Result<Vec<u8>> {
    let (note_at, note) = find_note(image, kernel)?;
    let mut cut = Cut { image, kernel, note, input: Encoder::default() };
    cut.input.search(kernel.text.phys.0, kernel.text.size.next_multiple_of(PAGE_SIZE));
    cut.input.bytes(note_at, cut.note.clone().trim_end_matches('\0').as_bytes());
    cut.resource()?;
    cut.page_tables()?;
    cut.symbols()?;
    Ok(cut.input.finish())
}

/// The page with a kernel's note, and its physical address.
fn find_note(image: &dyn Memory, kernel: &Kernel) -> Result<(u64, String)> {
    let stext = format!("\nSYMBOL(_stext)={:x}\n", kernel.text.virt.0);
    let release = format!("OSRELEASE={}\n", kernel.release);
    let mut page = [0; PAGE_SIZE as usize];
    for range in image.ranges().ranges() {
        for at in (range.start().page().0..range.end().0).step_by(page.len()) {
            if image.read(PhysAddr(at), &mut page).is_err() || !page.starts_with(FIRST_KEY) {
                continue;
            }
            let note = String::from_utf8_lossy(&page);
            if note.contains(&stext) && note.starts_with(&release) {
                return Ok((at, note.into_owned()));
            }
        }
    }
    anyhow::bail!("the image has no VMCOREINFO of {}", kernel.release)
}

struct Cut<'a> {
    image: &'a dyn Memory,
    kernel: &'a Kernel,
    note: String,
    input: Encoder,
}

/// The tables of kallsyms. Each begins at a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Offsets,
    RelativeBase,
    Number,
    Names,
    Markers,
    Tokens,
    Index,
}

impl Cut<'_> {
    fn read<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.image.read(PhysAddr(at), &mut bytes)?;
        Ok(bytes)
    }

    fn u32(&self, at: u64) -> Result<u32> {
        Ok(u32::from_le_bytes(self.read(at)?))
    }

    fn entries(&self, table: u64) -> Result<Vec<u64>> {
        let bytes: [u8; PAGE_SIZE as usize] = self.read(table)?;
        Ok(bytes.as_chunks().0.iter().map(|entry| u64::from_le_bytes(*entry)).collect())
    }

    /// The physical address of a symbol that the note names.
    fn noted(&self, symbol: &str) -> Option<u64> {
        let line = format!("\nSYMBOL({symbol})=");
        let (_, value) = self.note.split_once(&line)?;
        let virt = u64::from_str_radix(value.lines().next()?, 16).ok()?;
        Some(self.physical(virt))
    }

    /// Adds the resource of the kernel's text, and the name of that resource.
    fn resource(&mut self) -> Result<()> {
        let symbol = self.kernel.symbols.address("code_resource");
        let at = self.physical(symbol.context("the kernel has no code_resource")?.0);
        let resource: [u8; 32] = self.read(at)?;
        let words = resource.as_chunks().0;
        let name = words.get(2).copied().map(u64::from_le_bytes).unwrap_or_default();
        let name_at = self.physical(name);
        let name: [u8; NAME.len()] = self.read(name_at)?;
        ensure!(name == *NAME, "the resource at {at:#x} is not `Kernel code`");
        self.input.bytes(at, &resource);
        self.input.bytes(name_at, &name);
        Ok(())
    }

    /// The physical address of a virtual address in the image.
    fn physical(&self, virt: u64) -> u64 {
        virt.wrapping_sub(self.kernel.text.virt.0).wrapping_add(self.kernel.text.phys.0)
    }

    /// Adds the tables from the root to the image mapping, and those of the mapping.
    fn page_tables(&mut self) -> Result<()> {
        let mut table = self.kernel.page_table_root.0;
        for _ in 0..self.kernel.paging_levels - 3 {
            let entries = self.entries(table)?;
            self.input.table(table, &entries);
            table = entries[511] & FRAME;
        }
        let level3 = self.entries(table)?;
        self.input.table(table, &level3);
        let level2_at = level3[510] & FRAME;
        let level2 = self.entries(level2_at)?;
        self.input.table(level2_at, &level2);
        for entry in level2.iter().filter(|entry| **entry & (PRESENT | LARGE) == PRESENT) {
            let level1 = self.entries(entry & FRAME)?;
            self.input.table(entry & FRAME, &level1);
        }
        Ok(())
    }

    /// Adds some of the symbols, in tables of the same layout, and the banner.
    fn symbols(&mut self) -> Result<()> {
        let place = |symbol: &str| {
            self.noted(symbol).with_context(|| format!("the note does not name {symbol}"))
        };
        let base_at = place("kallsyms_relative_base").ok();
        let mut tables = vec![
            (place("kallsyms_offsets")?, Table::Offsets),
            (place("kallsyms_num_syms")?, Table::Number),
            (place("kallsyms_names")?, Table::Names),
            // VMCOREINFO does not name the markers, which are right before the tokens.
            (place("kallsyms_token_table")? - 1, Table::Markers),
            (place("kallsyms_token_table")?, Table::Tokens),
            (place("kallsyms_token_index")?, Table::Index),
        ];
        tables.extend(base_at.map(|at| (at, Table::RelativeBase)));
        tables.sort_unstable();
        let at =
            |wanted| tables.iter().find(|(_, table)| *table == wanted).map_or(0, |(at, _)| *at);

        let index: [u8; 512] = self.read(at(Table::Index))?;
        let token_bytes = usize::try_from(at(Table::Index) - at(Table::Tokens))?;
        let mut tokens = vec![0; token_bytes];
        self.image.read(PhysAddr(at(Table::Tokens)), &mut tokens)?;
        let symbols = self.some_symbols(
            at(Table::Names),
            self.u32(at(Table::Number))?,
            &Tokens { table: &tokens, index: &index },
        )?;

        let offsets_at = at(Table::Offsets);
        let mut next = tables[0].0;
        for (old, table) in &tables {
            let content: Vec<u8> = match table {
                Table::Number => (symbols.len() as u32).to_le_bytes().to_vec(),
                Table::Names => symbols.iter().flat_map(|symbol| symbol.name.clone()).collect(),
                Table::Markers => markers(&symbols),
                Table::Tokens => tokens.clone(),
                Table::Index => index.to_vec(),
                Table::RelativeBase => self.read::<8>(*old)?.to_vec(),
                Table::Offsets => {
                    let mut offsets = Vec::new();
                    for (n, symbol) in (0_u64..).zip(&symbols) {
                        let offset_at = offsets_at + symbol.number * 4;
                        let offset = self.u32(offset_at)?;
                        // Without a base an offset counts from its own place.
                        let moved = offset_at.wrapping_sub(next + n * 4) as u32;
                        let moved = if base_at.is_none() { moved } else { 0 };
                        offsets.extend(offset.wrapping_add(moved).to_le_bytes());
                    }
                    offsets
                }
            };
            self.input.bytes(next, &content);
            next = (next + content.len() as u64).next_multiple_of(8);
        }
        let banner = symbols.iter().find(|symbol| symbol.is_named("linux_banner"));
        let banner = banner.context("the kernel has no linux_banner")?.number;
        self.banner(offsets_at, base_at, banner)
    }

    fn banner(&mut self, offsets_at: u64, base_at: Option<u64>, number: u64) -> Result<()> {
        let offset_at = offsets_at + number * 4;
        let offset = i64::from(self.u32(offset_at)?.cast_signed());
        let at = match base_at {
            None => offset_at.wrapping_add_signed(offset),
            Some(base_at) => {
                let base = u64::from_le_bytes(self.read(base_at)?);
                // CONFIG_KALLSYMS_ABSOLUTE_PERCPU, up to 6.14: negative offsets count from the
                // base.
                let virt = if offset < 0 {
                    base.wrapping_sub(1).wrapping_add_signed(-offset)
                } else {
                    base.wrapping_add_signed(offset)
                };
                self.physical(virt)
            }
        };
        let line: [u8; 256] = self.read(at)?;
        ensure!(line.starts_with(b"Linux version "), "no banner at {at:#x}");
        let length = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
        self.input.bytes(at, &line[..length]);
        Ok(())
    }

    /// Reads the named symbols and some others, in order.
    fn some_symbols(&self, names: u64, count: u32, tokens: &Tokens) -> Result<Vec<Symbol>> {
        let every = u64::from(count).div_ceil(SYMBOLS as u64).max(1);
        let mut at = names;
        let mut kept = Vec::new();
        for number in 0..u64::from(count) {
            let [low, high]: [u8; 2] = self.read(at)?;
            let (head, length) = match low & 0x80 {
                0 => (1, usize::from(low)),
                _ => (2, usize::from(low & 0x7f) | (usize::from(high) << 7)),
            };
            let mut name = vec![0; head + length];
            self.image.read(PhysAddr(at), &mut name)?;
            at += name.len() as u64;
            let symbol = Symbol { number, text: tokens.expand(&name[head..]), name };
            if number % every == 0 || KEPT.iter().any(|kept| symbol.is_named(kept)) {
                kept.push(symbol);
            }
        }
        Ok(kept)
    }
}

/// A symbol of the input.
struct Symbol {
    /// Its number among all symbols of the kernel.
    number: u64,
    /// Its entry in the table of names, with its length.
    name: Vec<u8>,
    /// Its type letter and name.
    text: Vec<u8>,
}

impl Symbol {
    fn is_named(&self, name: &str) -> bool {
        self.text.get(1..) == Some(name.as_bytes())
    }
}

fn markers(symbols: &[Symbol]) -> Vec<u8> {
    let mut markers = Vec::new();
    let mut at = 0_u32;
    for (n, symbol) in symbols.iter().enumerate() {
        if n % MARKER_STEP == 0 {
            markers.extend(at.to_le_bytes());
        }
        at += symbol.name.len() as u32;
    }
    markers
}

struct Tokens<'a> {
    table: &'a [u8],
    index: &'a [u8],
}

impl Tokens<'_> {
    fn expand(&self, compressed: &[u8]) -> Vec<u8> {
        let token = |token: &u8| {
            let place = usize::from(*token) * 2;
            let start = u16::from_le_bytes([self.index[place], self.index[place + 1]]);
            self.table[usize::from(start)..].iter().copied().take_while(|byte| *byte != 0)
        };
        compressed.iter().flat_map(token).collect()
    }
}
