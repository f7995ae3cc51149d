//! The trampolines of static calls (arch/x86/include/asm/static_call.h).

use super::text::{JMP, Text};

/// `ud1 %esp,%ecx` behind a trampoline.
const MARK: [u8; 3] = [0x0f, 0xb9, 0xcc];
/// Bytes of a trampoline in front of its mark.
const CODE: u32 = 5;
/// A return that fills a trampoline without a function, and one that returns zero first: as linked
/// up to 5.17, and without return thunks since.
const RETURNS: [[u8; 5]; 3] = [
    [0xc3, 0xcc, 0x90, 0x90, 0x90],
    [0xc3, 0xcc, 0xcc, 0xcc, 0xcc],
    [0x31, 0xc0, 0xc3, 0xcc, 0x90],
];

/// Most trampolines of an image. Distribution kernels have 4,000.
const MAX_TRAMPOLINES: usize = 1 << 16;

/// The trampolines, each with a name made of its place. No compiler makes the mark behind a jump.
pub(super) fn trampolines(text: &Text<'_>) -> Vec<(String, u32)> {
    memchr::memmem::find_iter(text.bytes(), &MARK)
        .filter_map(|mark| u32::try_from(mark).ok()?.checked_sub(CODE))
        .filter(|at| {
            text.target(JMP, *at).is_some()
                || text.code(*at).is_some_and(|code| RETURNS.contains(&code))
        })
        .take(MAX_TRAMPOLINES)
        .map(|at| (format!("__SCT__text+{at:#x}"), at))
        .collect()
}
