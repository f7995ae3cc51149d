//! Returns as clang links them: `cs jmp __x86_return_thunk`, six bytes.

use super::*;
use crate::verify::reference::{KnownSymbols, Reference, Tables};

/// Image offset of `x86_return_thunk`: a pointer.
const CHOICE: u32 = 0x50_3208;
/// Image offset of the linked thunk, and of another one.
const DEFAULT: u32 = 0x41 * FUNCTION;
const OTHER: u32 = 0x40 * FUNCTION;
const NONE: [u32; 0] = [];
/// Image offsets of returns.
const RETURNS: [u32; 3] = [8, FUNCTION + 8, 2 * FUNCTION + 8];

const CS: u8 = 0x2e;
const JMP: u8 = 0xe9;
const RET: [u8; 6] = [0xc3, INT3, INT3, INT3, INT3, INT3];

fn jump(from: u32, to: u32) -> Vec<u8> {
    branch(JMP, from.into(), to.into()).to_vec()
}

fn linked(at: u32) -> Vec<u8> {
    [&[CS][..], &jump(at + 1, DEFAULT)].concat()
}

/// The places that are wrong, where the kernel chose a thunk and all returns have a form but the
/// last, which has another.
fn wrong(chosen: u32, form: impl Fn(u32) -> Vec<u8>, last: impl Fn(u32) -> Vec<u8>) -> Vec<u32> {
    let suspect = Suspect::new();
    let mut reference = reference();
    let tables = Tables {
        returns: RETURNS.to_vec(),
        known_symbols: KnownSymbols {
            return_thunk: Some(CHOICE),
            default_thunk: Some(DEFAULT),
            ..reference.tables.known_symbols
        },
        ..reference.tables
    };
    for at in RETURNS {
        let place = at as usize;
        reference.text.bytes[place..place + 6].copy_from_slice(&linked(at));
        suspect.image(at, &if at == RETURNS[2] { last(at) } else { form(at) });
    }
    let chosen = suspect.kernel.text.virt.0 + u64::from(chosen);
    suspect.image(CHOICE, &chosen.to_le_bytes());
    let opinion = opinion_by(Reference { tables, ..reference }, &suspect);
    opinion.wrong.iter().map(|wrong| wrong.at).collect()
}

/// Check that all six bytes belong to the return, in each form that the kernel can give it, and
/// that nothing else may stand in them.
#[test]
fn prefixed_returns() {
    let plain = |_| RET.to_vec();
    let other = |at| [jump(at, OTHER), vec![INT3]].concat();
    assert_eq!(wrong(DEFAULT, plain, plain), NONE);
    assert_eq!(wrong(DEFAULT, linked, linked), NONE);
    assert_eq!(wrong(OTHER, other, other), NONE);
    let last = [RETURNS[2]];
    assert_eq!(wrong(OTHER, other, linked), last);
    assert_eq!(wrong(DEFAULT, plain, |_| [&RET[..5], &[0x90]].concat()), last);
    assert_eq!(wrong(OTHER, other, |at| [jump(at, OTHER), vec![0x90]].concat()), last);
    assert_eq!(wrong(OTHER, other, |at| [&[CS][..], &jump(at + 1, OTHER)].concat()), last);
    assert_eq!(wrong(DEFAULT, linked, |at| [&[CS][..], &jump(at + 1, OTHER)].concat()), last);
}
