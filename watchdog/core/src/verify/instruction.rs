//! Finds the instruction that contains a byte.

use iced_x86::{Decoder, DecoderOptions, Instruction};

/// Offset and length of the instruction that contains the byte at `at`, decoded from an instruction
/// at `from`.
pub(super) fn instruction_at(text: &[u8], from: u32, at: u32) -> (u32, u32) {
    let code = text.get(from as usize..).unwrap_or_default();
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let (mut begin, mut length) = (from, 1);
    while decoder.can_decode() {
        let place = u32::try_from(decoder.position()).unwrap_or(u32::MAX);
        begin = from.saturating_add(place);
        decoder.decode_out(&mut instruction);
        length = u32::try_from(instruction.len()).unwrap_or(1);
        if begin.saturating_add(length) > at {
            break;
        }
    }
    (begin, length)
}
