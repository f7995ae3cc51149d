//! A reference from a running kernel's own memory, for a kernel without an image.

use super::read::Table;
use super::tables::bounds;
use super::{
    ImageSymbols, Layouts, Piece, Reference, Tables, kallsyms_tables, patch_tables, rodata_bounds,
    without,
};
use crate::image::Relocations;
use crate::locate::Kernel;
use crate::memory::Memory;

/// Largest table that is accepted. Distribution kernels have less than 300 KiB.
const MAX_TABLE: u32 = 4 << 20;
/// Largest read-only data, and type information, that is accepted. Distribution kernels have about
/// 10 MiB.
const MAX_DATA: u32 = 32 << 20;
/// Landing pads. The site of a function's tracer may come behind one.
const LANDING_PADS: [[u8; 4]; 3] =
    [[0xf3, 0x0f, 0x1e, 0xfa], [0x66, 0x0f, 0x1f, 0x00], [0x0f, 0x1f, 0x40, 0xd6]];

impl Reference {
    /// Reads a reference from a kernel's memory. It takes the text as it is, and the tables that
    /// stay in memory after boot (jump labels, static calls, function entries).
    ///
    /// The kernel also changed its text at boot (alternatives, returns, locks). These changes are
    /// part of the learned text, and any later change there is unexplained.
    #[must_use]
    pub fn learned(memory: &dyn Memory, kernel: &Kernel, text: Vec<u8>) -> Self {
        let symbols = ImageSymbols::of(&kernel.symbols, kernel.text.virt);
        let [jumps, calls, types] = bounds(
            &symbols,
            [
                ["__start___jump_table", "__stop___jump_table"],
                ["__start_static_call_sites", "__stop_static_call_sites"],
                ["__start_BTF", "__stop_BTF"],
            ],
        );
        let read = |bounds: Option<(u32, u32)>, most| {
            let (offset, size) = bounds?;
            read(memory, kernel, offset, size, most)
        };
        let types = read(types, MAX_DATA);
        let rodata = read(rodata_bounds(&symbols), MAX_DATA);
        let table = |bounds| read(bounds, MAX_TABLE).unwrap_or_default();
        let (jumps, calls) = (table(jumps), table(calls));
        let mut tables = Tables::of_data(
            Table { offset: jumps.0, bytes: &jumps.1 },
            Table { offset: calls.0, bytes: &calls.1 },
            &symbols,
        );
        let left_out = kallsyms_tables(&symbols);
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let all = patch_tables::of_memory(&symbols, kernel.text.virt.0, size, &mut |range| {
            let size = range.end.checked_sub(range.start)?;
            read(Some((range.start, size)), MAX_TABLE).map(|(_, bytes)| bytes)
        });
        tables.unknown = patch_tables::unknown(all, &symbols, &text);
        tables.fentry = entries(&symbols, &text, size, tables.known_symbols.fentry);
        let layouts = types.map_or_else(Layouts::default, |(_, bytes)| Layouts::of_btf(bytes));
        let piece = |(offset, bytes)| Piece { offset, bytes, relocations: Relocations::default() };
        let mut reference = Self {
            release: kernel.release.clone(),
            banner: kernel.banner.clone(),
            build_id: kernel.build_id.clone().unwrap_or_default(),
            link_address: kernel.text.virt.0,
            text: piece((0, text)),
            replacements: piece((size, Vec::new())),
            rodata: without(piece(rodata.unwrap_or((size, Vec::new()))), &left_out),
            left_out,
            gates: Vec::new(),
            not_judged: Vec::new(),
            layouts,
            tables,
            symbols,
        };
        reference.list_not_judged();
        reference.log();
        reference
    }
}

/// Reads a stretch of the image from memory; `None` if it is longer than `most` bytes.
fn read(
    memory: &dyn Memory,
    kernel: &Kernel,
    offset: u32,
    size: u32,
    most: u32,
) -> Option<(u32, Vec<u8>)> {
    let read = || {
        let mut bytes = vec![0; usize::try_from(size).ok().filter(|_| size <= most)?];
        memory.read(kernel.text.phys.checked_add(offset.into())?, &mut bytes).ok()?;
        Some((offset, bytes))
    };
    let part = read();
    if part.is_none() {
        log::debug!(
            "{size} bytes at image offset {offset:#x} are not learned: they cannot be read, or are \
             more than {most}"
        );
    }
    part
}

/// The functions that begin with code that ftrace rewrites: its NOP, or a call to `__fentry__`.
fn entries(symbols: &ImageSymbols, text: &[u8], size: u32, fentry: Option<u32>) -> Vec<u32> {
    // The second one is that of kernels up to 5.12 on some processors.
    const NOPS: [[u8; 5]; 2] = [[0x0f, 0x1f, 0x44, 0x00, 0x00], [0x66, 0x66, 0x66, 0x66, 0x90]];
    symbols
        .functions(size)
        .filter_map(|at| {
            let code = text.get(at as usize..)?;
            let pad = LANDING_PADS.iter().any(|pad| code.starts_with(pad));
            let at = if pad { at.checked_add(4)? } else { at };
            let code: &[u8; 5] = text.get(at as usize..)?.first_chunk()?;
            let distance = i64::from(i32::from_le_bytes(*code.last_chunk()?));
            let target = i64::from(at).checked_add(5)?.checked_add(distance)?;
            let calls = code.first() == Some(&0xe8) && fentry.map(i64::from) == Some(target);
            (NOPS.contains(code) || calls).then_some(at)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::tests::made_up::{FIRST, Machine};

    /// Check that a table up to the bound is learned and a larger one is ignored.
    #[test]
    fn tables_beyond_the_bound() {
        let learned = |size: u32| {
            let machine = Machine::with(FIRST);
            let at = |offset: u64| FIRST.virt + offset;
            let functions = (1..1500).map(|n| (format!("tfunction_{n}"), at(n * 0x100)));
            let (start, stop) = (0x20_0000, 0x20_0000 + u64::from(size));
            let table = [("D__start___jump_table", start), ("D__stop___jump_table", stop)];
            let table = table.map(|(name, offset)| (name.to_owned(), at(offset)));
            machine.write(FIRST.tables(), &[0; 0x1_0000]);
            machine.symbols(FIRST, functions.chain(table));
            let reference = Reference::learned(&machine, &machine.kernel(), vec![0x90; 0x1000]);
            reference.tables.jump_labels.len()
        };
        assert!(learned(MAX_TABLE) > 0);
        assert_eq!(learned(MAX_TABLE + 16), 0);
    }
}
