//! The kernel's own NOPs (`x86_nops`, arch/x86/kernel/alternative.c), and runs of them.

/// The NOPs that the kernel writes, by length: up to 8 bytes in kernels to 6.3, and up to 11 since
/// (arch/x86/include/asm/nops.h).
const NOPS: [&[u8]; 11] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

/// The NOP of an ftrace site, a 5-byte jump label and a static call.
pub(super) const NOP5: &[u8] = NOPS[4];
/// The NOP of a 2-byte jump label.
pub(super) const NOP2: &[u8] = NOPS[1];

const INT3: u8 = 0xcc;

/// The NOP of a length.
pub(super) fn of(length: usize) -> Option<&'static [u8]> {
    NOPS.get(length.checked_sub(1)?).copied()
}

/// The length of the NOP at the start of `code`; `None` if it is not one of the kernel's.
pub(super) fn length(code: &[u8]) -> Option<usize> {
    NOPS.iter().rev().find(|nop| code.starts_with(nop)).map(|nop| nop.len())
}

/// Total length of the NOPs at the start of `code`.
pub(super) fn run(code: &[u8]) -> usize {
    let mut at = 0_usize;
    while let Some(length) = code.get(at..).and_then(length) {
        at = at.saturating_add(length);
    }
    at
}

/// Whether `code` does nothing. It consists of NOPs, or (`add_nop()`, since 6.4) of a jump over
/// `int3` to its end.
pub(super) fn fill(code: &[u8]) -> bool {
    if run(code) == code.len() {
        return true;
    }
    let (distance, over) = match code {
        [0xeb, distance, over @ ..] => (usize::from(*distance), over),
        [0xe9, a, b, c, d, over @ ..] => {
            (u32::from_le_bytes([*a, *b, *c, *d]).try_into().unwrap_or(usize::MAX), over)
        }
        _ => return false,
    };
    distance == over.len() && over.iter().all(|byte| *byte == INT3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that NOPs are counted to their end. Check that a jump counts only if it leads exactly
    /// to the end, and that other instructions without effect are rejected.
    #[test]
    fn what_does_nothing() {
        assert!(fill(&[]) && fill(&[0x90; 40]) && fill(&[0x0f, 0x1f, 0, 0x66, 0x90]));
        assert!(fill(&[0xeb, 2, 0xcc, 0xcc]) && fill(&[0xe9, 1, 0, 0, 0, 0xcc]));
        for code in [&[0xeb, 1, 0xcc, 0xcc][..], &[0xeb, 2, 0xcc, 0x90], &[0x0f, 0x1f, 1], &[0xf3]]
        {
            assert!(!fill(code), "{code:x?}");
        }
        assert_eq!(run(&[0x66, 0x90, 0x90, 0xc3]), 3);
    }
}
