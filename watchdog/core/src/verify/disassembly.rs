//! Disassembly of kernel text, with the kernel's symbols.

use std::sync::Arc;

use iced_x86::{
    Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, SymbolResolver, SymbolResult,
};

use super::instruction::instruction_at;
use super::reference::{ImageSymbols, Reference};
use crate::memory::VirtAddr;
use crate::text::printable;

/// Longest distance from a place back to the start of its function. Beyond that, decoding starts at
/// the place itself.
const MAX_FUNCTION: usize = 64 << 10;
/// Instructions that are shown for one place.
const MAX_SHOWN: usize = 8;
/// Longest symbol name that is shown.
const MAX_NAME: usize = 64;

/// Disassembles a kernel's text.
pub(super) struct Disassembler {
    formatter: GasFormatter,
    stext: VirtAddr,
    /// The function that was decoded last, and the instruction that was found in it.
    last: Option<(u32, u32)>,
}

impl Disassembler {
    /// Makes a disassembler for a text whose `_stext` is at virtual address `stext`.
    pub(super) fn new(reference: &Arc<Reference>, stext: VirtAddr) -> Self {
        let names = Names { reference: reference.clone(), stext };
        let mut formatter = GasFormatter::with_options(Some(Box::new(names)), None);
        formatter.options_mut().set_branch_leading_zeros(false);
        formatter.options_mut().set_uppercase_hex(false);
        Self { formatter, stext, last: None }
    }

    /// The offset of the instruction that contains the byte at `at`, decoded from the start of its
    /// function. Every call must pass the same text. Decoding continues from the last place in the
    /// same function, because a function may contain thousands of places.
    pub(super) fn boundary(&mut self, symbols: &ImageSymbols, text: &[u8], at: u32) -> u32 {
        let start = symbols.start_before(at).unwrap_or(at);
        let code = text.get(start as usize..at.saturating_add(1) as usize).unwrap_or_default();
        if code.len() > MAX_FUNCTION {
            return at;
        }
        let last = self.last.filter(|(function, begin)| *function == start && *begin <= at);
        let from = last.map_or(start, |(_, begin)| begin);
        let (begin, _) = instruction_at(text, from, at);
        self.last = Some((start, begin));
        begin
    }

    /// Formats the instructions of `text` from `begin` to `end`, separated by `; `.
    pub(super) fn show(&mut self, text: &[u8], begin: u32, end: u32) -> String {
        let code = text.get(begin as usize..).unwrap_or_default();
        let virt = self.stext.0.wrapping_add(begin.into());
        let decoder = Decoder::with_ip(64, code, virt, DecoderOptions::NONE);
        let end = self.stext.0.wrapping_add(end.into());
        let mut shown = Vec::new();
        for instruction in decoder {
            if instruction.ip() >= end {
                break;
            }
            if shown.len() == MAX_SHOWN {
                shown.push("…".to_owned());
                break;
            }
            let mut text = String::new();
            self.formatter.format(&instruction, &mut text);
            shown.push(text);
        }
        shown.join("; ")
    }
}

/// The symbols of a kernel, at the kernel's address.
struct Names {
    reference: Arc<Reference>,
    stext: VirtAddr,
}

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        _: &Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let offset = u32::try_from(VirtAddr(address).checked_sub(self.stext)?).ok()?;
        let (name, distance) = self.reference.symbols.lookup(offset)?;
        // An address far behind the last symbol is not part of the kernel.
        let start = address.checked_sub(distance.into()).filter(|_| distance < 1 << 20)?;
        Some(SymbolResult::with_string(start, printable(name.as_bytes(), MAX_NAME)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::made_up::reference;

    /// Check that an instruction begins at the same offset whether or not other places of its
    /// function were decoded before. Check that decoding continues from the last place instead of
    /// the start of the function.
    #[test]
    fn boundaries() {
        let symbols = [(b't', "one".to_owned(), 0), (b't', "two".to_owned(), 40)];
        let symbols = ImageSymbols::from_ascending(symbols);
        let text = [0x0f, 0x1f, 0x44, 0, 0, 0x90, 0x66, 0x90].repeat(10);
        let new = || Disassembler::new(&Arc::new(reference()), VirtAddr(0));
        let mut disassembler = new();
        for at in (0..80).chain((0..80).rev()).chain([41, 79, 3, 3]) {
            let begin = disassembler.boundary(&symbols, &text, at);
            assert_eq!(begin, new().boundary(&symbols, &text, at), "{at}");
            assert_eq!(begin, at / 8 * 8 + [0, 0, 0, 0, 0, 5, 6, 6][at as usize % 8], "{at}");
        }
        // Bytes before the last place no longer matter.
        let mut disassembler = new();
        disassembler.boundary(&symbols, &text, 20);
        let other = [vec![0xcc; 15], vec![0xe8], text[16..].to_vec()].concat();
        assert_ne!(new().boundary(&symbols, &other, 22), 22);
        assert_eq!(disassembler.boundary(&symbols, &other, 22), 22);
        assert_eq!(disassembler.last, Some((0, 22)));
    }
}
