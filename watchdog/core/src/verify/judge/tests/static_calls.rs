//! Static calls without a function to call, in a kernel that returns through a thunk.

use super::*;
use crate::verify::reference::{KnownSymbols, Reference, StaticCall, Tables, Trampoline};

/// Image offset of the key: a pointer.
const KEY: u32 = 0x50_3200;
/// Image offset of `x86_return_thunk`: a pointer.
const CHOICE: u32 = 0x50_3208;
/// Image offset of the thunk that the kernel chose, and of the linked one.
const THUNK: u32 = 0x40 * FUNCTION;
const DEFAULT: u32 = 0x41 * FUNCTION;
/// Image offsets of a tail call, a conditional tail call, a call, two trampolines, and the first
/// return of three. The return table lists the second trampoline.
const TAIL: u32 = 8;
const CONDITIONAL: u32 = FUNCTION + 8;
const PLAIN: u32 = 2 * FUNCTION + 8;
const TRAMPOLINE: u32 = 3 * FUNCTION + 8;
const LISTED: u32 = 4 * FUNCTION + 8;
const RETURN: u32 = 5 * FUNCTION + 8;
const RETURNS: [u32; 3] = [RETURN, RETURN + FUNCTION, RETURN + 2 * FUNCTION];

const RET: [u8; 5] = [0xc3, INT3, INT3, INT3, INT3];
const JMP: u8 = 0xe9;
/// The second byte of `je`.
const JE: u8 = 0x84;

fn with_static_calls() -> Reference {
    let made_up = reference();
    let call = |at, tail| StaticCall { at, key: KEY, tail };
    let tables = Tables {
        static_calls: vec![call(TAIL, true), call(CONDITIONAL, true), call(PLAIN, false)],
        trampolines: [TRAMPOLINE, LISTED].map(|at| Trampoline { at, key: KEY }).to_vec(),
        returns: [&[LISTED][..], &RETURNS].concat(),
        known_symbols: KnownSymbols {
            return_thunk: Some(CHOICE),
            default_thunk: Some(DEFAULT),
            ..made_up.tables.known_symbols
        },
        ..made_up.tables.clone()
    };
    let mut made_up = Reference { tables, ..made_up };
    let linked = [0x0f, JE, 0, 0, 0, 0];
    made_up.text.bytes[CONDITIONAL as usize..][..linked.len()].copy_from_slice(&linked);
    made_up
}

/// The places that are wrong in a kernel whose key names this function.
fn wrong(key: Option<u32>, place: u32, form: &[u8]) -> bool {
    let suspect = Suspect::new();
    let virt = |at: u32| suspect.kernel.text.virt.0 + u64::from(at);
    suspect.image(KEY, &key.map_or(0, virt).to_le_bytes());
    suspect.image(CHOICE, &virt(THUNK).to_le_bytes());
    RETURNS.iter().for_each(|at| suspect.image(*at, &jump(JMP, *at, THUNK)));
    suspect.image(place, form);
    let opinion = opinion_by(with_static_calls(), &suspect);
    opinion.wrong.iter().any(|wrong| wrong.at == place)
}

fn jump(opcode: u8, from: u32, to: u32) -> Vec<u8> {
    branch(opcode, from.into(), to.into()).to_vec()
}

fn jump_if(from: u32, to: u32) -> Vec<u8> {
    [&[0x0f][..], &branch(JE, u64::from(from) + 1, to.into())].concat()
}

/// Check that a static call without a function returns plainly or through the thunk that the kernel
/// chose, and through no other.
#[test]
fn nothing_to_call() {
    for place in [TAIL, TRAMPOLINE] {
        assert!(!wrong(None, place, &RET));
        assert!(!wrong(None, place, &jump(JMP, place, THUNK)));
        assert!(wrong(None, place, &jump(JMP, place, DEFAULT)));
        assert!(wrong(None, place, &jump(JMP, place, THUNK + 1)));
    }
    assert!(!wrong(None, CONDITIONAL, &jump_if(CONDITIONAL, THUNK)));
    for place in [DEFAULT, THUNK + 1] {
        assert!(wrong(None, CONDITIONAL, &jump_if(CONDITIONAL, place)));
    }
}

/// Check that a plain return is wrong at every other place: at a static call that has a function,
/// at a call whose caller goes on, and at returns that the kernel rewrites with its choice.
#[test]
fn plain_returns_elsewhere() {
    let function = Some(0x50 * FUNCTION);
    assert!(wrong(function, TAIL, &RET) && wrong(function, TRAMPOLINE, &RET));
    assert!(wrong(function, CONDITIONAL, &jump_if(CONDITIONAL, THUNK)));
    for place in [PLAIN, LISTED, RETURN] {
        assert!(wrong(None, place, &RET));
    }
    assert!(!wrong(None, RETURN, &jump(JMP, RETURN, THUNK)));
}

/// Check that a kernel may return plainly everywhere although it has named a thunk, and that a
/// single jump to that thunk is wrong there.
#[test]
fn plain_returns_everywhere() {
    let suspect = Suspect::new();
    let thunk = suspect.kernel.text.virt.0 + u64::from(THUNK);
    suspect.image(CHOICE, &thunk.to_le_bytes());
    RETURNS.iter().for_each(|at| suspect.image(*at, &RET));
    let wrong_returns = || {
        let wrong = opinion_by(with_static_calls(), &suspect).wrong;
        wrong.iter().map(|wrong| wrong.at).filter(|at| RETURNS.contains(at)).collect::<Vec<_>>()
    };
    assert!(wrong_returns().is_empty());
    suspect.image(RETURN, &jump(JMP, RETURN, THUNK));
    assert_eq!(wrong_returns(), [RETURN]);
}
