//! Tests with a made-up kernel that checks indirect calls.

use super::cfi::{CALLER, ENDBR64, PREAMBLE};
use super::*;
use crate::verify::made_up::{RODATA, Suspect, TEXT, add_code_symbols, reference};
use crate::verify::reference::{ImageSymbols, Reference};

/// Image offsets of functions with a hash (the last is sealed), and of indirect calls.
const FUNCTIONS: [u32; 4] = [0x1040, 0x1080, 0x10c0, 0x1100];
const CALLS: [u32; 3] = [0x2020, 0x2060, 0x20a0];
const THUNK: u32 = 0x7000;
const MODE: u32 = 0x50_4000;
const SEED: u32 = 0x50_4004;
const HASH: u32 = 0x1234_5678;
const SEALED: [u8; 4] = [0x66, 0x0f, 0x1f, 0x00];
const FINE_PREAMBLE: [u8; 16] =
    [0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x81, 0xea, 0, 0, 0, 0, 0x74, 0x03, 0x0f, 0x0b, 0x90];
const FINE_CALLER: [u8; 14] =
    [0x41, 0xba, 0, 0, 0, 0, 0x49, 0x83, 0xeb, 0x10, 0x0f, 0x1f, 0x40, 0x00];

/// `code` with a hash in it.
fn with<const N: usize>(mut code: [u8; N], at: usize, hash: u32) -> [u8; N] {
    code[at..at + 4].copy_from_slice(&hash.to_le_bytes());
    code
}

fn preamble(hash: u32) -> [u8; 16] {
    let mut code = [0x90; 16];
    code[0] = 0xb8;
    with(code, 1, hash)
}

fn caller(hash: u32) -> [u8; 14] {
    let code = [0x41, 0xba, 0, 0, 0, 0, 0x45, 0x03, 0x53, 0xf1, 0x74, 0x02, 0x0f, 0x0b];
    with(code, 2, hash.wrapping_neg())
}

/// A kernel and its reference, in the mode that was linked.
fn kernel() -> (Suspect, Reference) {
    let (suspect, mut reference) = (Suspect::new(), reference());
    let known = [
        (THUNK, "__x86_indirect_thunk_r11"),
        (RODATA + 0x100, "fineibt_preamble_start"),
        (RODATA + 0x110, "fineibt_caller_start"),
        (MODE, "cfi_mode"),
        (SEED, "cfi_seed"),
    ];
    add_code_symbols(&mut reference, &known);
    reference.tables.fentry.clear();
    reference.rodata.bytes[0x100..0x110].copy_from_slice(&with(FINE_PREAMBLE, 7, HASH));
    reference.rodata.bytes[0x110..0x11e].copy_from_slice(&with(FINE_CALLER, 2, HASH));
    let mut link = |at: u32, code: &[u8]| {
        reference.text.bytes[at as usize..at as usize + code.len()].copy_from_slice(code);
        suspect.image(at, code);
    };
    for at in FUNCTIONS {
        link(at - PREAMBLE, &preamble(HASH + at));
        link(at, &ENDBR64);
    }
    for at in CALLS {
        link(at - CALLER, &caller(HASH + at));
        link(at, &crate::verify::made_up::branch(0xe8, at.into(), THUNK.into()));
    }
    reference.tables.cfi = FUNCTIONS.map(|at| at - PREAMBLE).to_vec();
    reference.tables.retpolines = CALLS.to_vec();
    reference.tables.ibt_seals = vec![FUNCTIONS[3]];
    (suspect, reference)
}

/// Rewrites the kernel as it does at boot.
fn apply(suspect: &Suspect, mode: u32, seed: u32) {
    suspect.image(MODE, &mode.to_le_bytes());
    suspect.image(SEED, &seed.to_le_bytes());
    for (n, at) in FUNCTIONS.into_iter().enumerate() {
        let is_sealed = n == 3;
        let hash = if is_sealed && mode != 1 { 0 } else { (HASH + at) ^ seed };
        if mode == 3 {
            suspect.image(at - PREAMBLE, &with(FINE_PREAMBLE, 7, hash));
            suspect.image(at, &SEALED);
            if is_sealed {
                suspect.image(at - PREAMBLE, &SEALED);
            }
        } else {
            suspect.image(at - PREAMBLE, &preamble(hash));
        }
    }
    suspect.image(FUNCTIONS[3], &SEALED);
    for at in CALLS {
        let hash = (HASH + at) ^ seed;
        match mode {
            1 => {
                suspect.image(at - CALLER, &caller(hash));
                suspect.image(at - CALLER, &[0xeb, 0x0c]);
            }
            2 => suspect.image(at - CALLER, &caller(hash)),
            _ => suspect.image(at - CALLER, &with(FINE_CALLER, 2, hash)),
        }
    }
}

/// The unexplained places, and the number of places that are not judged.
fn judged(suspect: &Suspect, reference: &Reference) -> (Vec<u32>, usize) {
    let opinion = tests::opinion_by(reference.clone(), suspect);
    let wrong = opinion.wrong.iter().map(|wrong| wrong.at).collect();
    (wrong, opinion.not_judged_places.len())
}

/// Check that each mode is explained, and that a hash, a check or a landing pad of another form is
/// found.
#[test]
fn modes() {
    let (suspect, reference) = kernel();
    let none = (Vec::new(), 0);
    for (mode, seed) in [(1, 0), (2, 0), (2, 0x5eed), (3, 0), (3, 0x5eed)] {
        apply(&suspect, mode, seed);
        assert_eq!(judged(&suspect, &reference), none, "mode {mode}");
        let first = FUNCTIONS[0] - PREAMBLE;
        let hash = if mode == 3 { 7 } else { 1 };
        let attacks: [(u32, u32, &[u8]); 5] = [
            (first, first + hash, &[0xaa]),
            (first, first + 12, &[0xc3]),
            (CALLS[1] - CALLER, CALLS[1] - CALLER + 3, &[0xaa]),
            (CALLS[1] - CALLER, CALLS[1] - CALLER, &[0xeb, 0x0a]),
            (FUNCTIONS[1], FUNCTIONS[1], &[0x0f, 0x1f, 0x40, 0x00]),
        ];
        for (site, at, code) in attacks {
            suspect.image(at, code);
            assert_eq!(judged(&suspect, &reference), (vec![site], 0), "mode {mode}: {at:#x}");
            suspect.image(FUNCTIONS[1], &ENDBR64);
            apply(&suspect, mode, seed);
        }
        (0..4).for_each(|n| suspect.image(FUNCTIONS[n], &ENDBR64));
    }
}

/// Check that forms that no rule knows are not judged if most places have them. So are all forms of
/// a kernel that does not name its mode.
#[test]
fn other_forms() {
    let (suspect, mut reference) = kernel();
    apply(&suspect, 3, 0x5eed);
    for at in CALLS {
        suspect.image(at - 4, &[0x4d, 0x8d, 0x5b, 0xf0]);
        suspect.image(at, &[0x75, 0xfd, 0x41, 0xff, 0xd3]);
    }
    assert_eq!(judged(&suspect, &reference), (Vec::new(), 6));
    suspect.image(TEXT - 4, &[0xcc]);
    assert_eq!(judged(&suspect, &reference), (vec![TEXT - 4], 6));
    let (suspect, _) = kernel();
    reference.symbols = ImageSymbols::default();
    assert_eq!(judged(&suspect, &reference).1, 0);
    suspect.image(CALLS[0] - CALLER, &[0xeb, 0x0c]);
    assert_eq!(judged(&suspect, &reference), (Vec::new(), 1));
}
