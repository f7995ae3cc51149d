//! Finds the instruction that contains a byte.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

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

/// What is before a place, padding left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// A jump, a return or a trap: no code runs into the place.
    End,
    /// A direct call of this place. No code runs into the place if the call does not return.
    Call(u32),
    /// Code that runs into the place, or an instruction that contains it.
    Code,
}

/// What is before `at`, decoded from an instruction at `from`.
pub(super) fn before(text: &[u8], from: u32, at: u32) -> Before {
    walk(text, from, at, &mut |_, _| ())
}

/// Decodes from an instruction at `from` up to `end`. Calls `each` with the place of every
/// instruction but padding, and what is before it. Returns what is before `end`.
pub(super) fn walk(text: &[u8], from: u32, end: u32, each: &mut dyn FnMut(u32, Before)) -> Before {
    let code = text.get(from as usize..end as usize).unwrap_or_default();
    let mut decoder = Decoder::with_ip(64, code, from.into(), DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut before = Before::Code;
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let is_padding = is_nop(&instruction) || instruction.code() == Code::Int3;
        if let (false, Ok(at)) = (is_padding, u32::try_from(instruction.ip())) {
            each(at, before);
        }
        before = match (instruction.flow_control(), instruction.code()) {
            (
                FlowControl::Return
                | FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch,
                _,
            )
            | (_, Code::Int3 | Code::Ud2) => Before::End,
            (FlowControl::Call, _) => match u32::try_from(instruction.near_branch_target()) {
                Ok(target) => Before::Call(target),
                Err(_) => Before::Code,
            },
            (_, Code::INVALID) => Before::Code,
            _ if is_nop(&instruction) => before,
            _ => Before::Code,
        };
    }
    before
}

/// Whether an instruction is a NOP. Two bytes of padding are decoded as `xchg %ax,%ax`.
fn is_nop(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Nop || instruction.code() == Code::Xchg_r16_AX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that padding behind a jump, a return or a trap ends code, and that NOPs behind other
    /// code, and the middle of an instruction, do not. Check that a call is recognized.
    #[test]
    fn ends_of_code() {
        let found = |parts: &[&[u8]]| {
            let code = parts.concat();
            before(&code, 0, u32::try_from(code.len()).unwrap())
        };
        let long = [0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x0f, 0x1f, 0];
        for end in [&[0xe9, 1, 2, 3, 4][..], &[0xc3], &[0x0f, 0x0b], &[0xff, 0xe0], &[0xcc]] {
            for padding in [&[][..], &[0x90; 16], &long] {
                let code = [&[0x89, 0x18], end, padding];
                assert_eq!(found(&code), Before::End, "{code:x?}");
            }
        }
        // sub $5,%rdi; mov %eax,%ebx; the first five bytes of mov 0x1bc6ce9(%rip),%rdx
        for code in [&[0x48, 0x83, 0xef, 0x05][..], &[0x89, 0xc3], &[0x48, 0x8b, 0x15, 0xe9, 0x6c]]
        {
            for padding in [&[][..], &[0x90; 9], &[0x66, 0x90]] {
                assert_eq!(found(&[code, padding]), Before::Code, "{code:x?} {padding:x?}");
            }
        }
        for padding in [&[][..], &[0x66, 0x90], &long] {
            let call = [&[0x90][..], &[0xe8, 0x20, 0, 0, 0], padding];
            assert_eq!(found(&call), Before::Call(0x26), "{padding:x?}");
        }
    }
}
