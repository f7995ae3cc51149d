//! Branches relative to their place, as the kernel writes them (`text_gen_insn()`).

pub(super) const CALL: u8 = 0xe8;
pub(super) const JMP: u8 = 0xe9;
pub(super) const JMP8: u8 = 0xeb;
pub(super) const INT3: u8 = 0xcc;
pub(super) const RET: u8 = 0xc3;
/// A prefix without effect on a branch, which compilers add to its longer form.
pub(super) const CS: u8 = 0x2e;

/// The target of a branch: bytes from `_stext`, negative for a target before the image.
pub(super) type Place = i64;

/// A `call`, `jmp`, short `jmp` or conditional jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// [`CALL`], [`JMP`], [`JMP8`], or the second byte (`8x`) of a conditional jump.
    pub(super) opcode: u8,
    pub(super) length: usize,
    pub(super) target: Place,
}

/// Decodes the branch at the start of `code`, which is at image offset `at`.
pub(super) fn decode(code: &[u8], at: u32) -> Option<Branch> {
    let (opcode, length, distance) = match *code {
        [opcode @ (CALL | JMP), a, b, c, d, ..] => (opcode, 5_u8, [a, b, c, d]),
        [0x0f, opcode @ 0x80..=0x8f, a, b, c, d, ..] => (opcode, 6, [a, b, c, d]),
        [JMP8, distance, ..] => (JMP8, 2, i32::from(distance.cast_signed()).to_le_bytes()),
        _ => return None,
    };
    let target = Place::from(at)
        .saturating_add(length.into())
        .saturating_add(i32::from_le_bytes(distance).into());
    Some(Branch { opcode, length: length.into(), target })
}

/// Whether `code` at image offset `at` begins with this branch.
pub(super) fn is(code: &[u8], at: u32, opcode: u8, target: u32) -> bool {
    decode(code, at)
        .is_some_and(|branch| branch.opcode == opcode && branch.target == Place::from(target))
}

/// Whether `code` is `ret`, followed only by `int3`.
pub(super) fn is_plain_return(code: &[u8]) -> bool {
    matches!(code, [RET, rest @ ..] if rest.iter().all(|byte| *byte == INT3))
}
