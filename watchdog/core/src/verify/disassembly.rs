//! Instructions for people, with the kernel's own names.

use std::sync::Arc;

use iced_x86::{
    Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, SymbolResolver, SymbolResult,
};

use super::reference::{ImageSymbols, Reference};
use crate::memory::VirtAddr;
use crate::text::printable;

/// How far before a place its function may begin: beyond that, decoding starts at the place.
const MAX_FUNCTION: usize = 64 << 10;
/// Instructions shown of one place.
const MAX_SHOWN: usize = 8;
/// Longest name shown.
const MAX_NAME: usize = 64;

/// Writes instructions of a kernel's text.
pub(super) struct Disassembler {
    formatter: GasFormatter,
    stext: VirtAddr,
}

impl Disassembler {
    /// For a text whose `_stext` is at virtual `stext`.
    pub(super) fn new(reference: &Arc<Reference>, stext: VirtAddr) -> Self {
        let names = Names { reference: reference.clone(), stext };
        let mut formatter = GasFormatter::with_options(Some(Box::new(names)), None);
        formatter.options_mut().set_branch_leading_zeros(false);
        formatter.options_mut().set_uppercase_hex(false);
        Self { formatter, stext }
    }

    /// The offset of the instruction of `text` that the byte at `at` is part of, as decoding from
    /// the beginning of its function has it.
    pub(super) fn boundary(symbols: &ImageSymbols, text: &[u8], at: u32) -> u32 {
        let start = symbols.lookup(at).map_or(at, |(_, offset)| at.saturating_sub(offset));
        let code = text.get(start as usize..at.saturating_add(1) as usize).unwrap_or_default();
        if code.len() > MAX_FUNCTION {
            return at;
        }
        let code = text.get(start as usize..).unwrap_or_default();
        let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut begin = start;
        while decoder.can_decode() {
            let place = u32::try_from(decoder.position()).unwrap_or(u32::MAX);
            begin = start.saturating_add(place);
            decoder.decode_out(&mut instruction);
            let length = u32::try_from(instruction.len()).unwrap_or(1);
            if begin.saturating_add(length) > at {
                break;
            }
        }
        begin
    }

    /// The instructions of `text` from `begin` until `end` is passed, parted by `; `.
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

/// The names of a kernel at its place.
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
        // Far behind the last symbol is no place of the kernel's.
        let start = address.checked_sub(distance.into()).filter(|_| distance < 1 << 20)?;
        Some(SymbolResult::with_string(start, printable(name.as_bytes(), MAX_NAME)))
    }
}
