//! A kernel whose image has no symbols: where a static call may lead, and what may stand in place
//! of a call.

use super::*;
use crate::verify::reference::{ImageSymbols, KnownSymbols, StaticCall};

/// Image offset of the key: a pointer.
const KEY: u32 = 0x50_3200;
/// Image offset of the call.
const SITE: u32 = 8;
/// A function of which the image says so, and the function that returns zero.
const LISTED: u32 = 0x40 * FUNCTION;
const ZERO: u32 = 0x41 * FUNCTION;
/// Behind a return, behind other code, and behind calls of a function that returns, and of one that
/// never does. The image does not say whether functions begin there.
const BEHIND_END: u32 = 0x42 * FUNCTION;
const INSIDE: u32 = 0x43 * FUNCTION;
const BEHIND_CALL: u32 = 0x45 * FUNCTION;
const BEHIND_DEAD_END: u32 = 0x47 * FUNCTION;
/// The function that never returns.
const DEAD_END: u32 = 0x50 * FUNCTION;
const UNLISTED: [u32; 4] = [BEHIND_END, INSIDE, BEHIND_CALL, BEHIND_DEAD_END];
const XOR: [u8; 5] = [0x2e, 0x2e, 0x2e, 0x31, 0xc0];

/// The reference, with the names of functions or without.
fn made_up(is_nameless: bool) -> Reference {
    let made_up = reference();
    let symbols = functions()
        .filter(|at| !UNLISTED.contains(at))
        .map(|at| (b't', if is_nameless { String::new() } else { format!("function_{at:x}") }, at));
    let tables = Tables {
        static_calls: vec![StaticCall { at: SITE, key: KEY, tail: false }],
        known_symbols: KnownSymbols::default(),
        ..made_up.tables.clone()
    };
    let symbols = ImageSymbols::from_ascending(symbols);
    let mut made_up = Reference { tables, symbols, ..made_up };
    let mut put = |at: u32, code: &[u8]| {
        made_up.text.bytes[at as usize..][..code.len()].copy_from_slice(code);
    };
    // Each function does something behind its entry.
    functions().for_each(|at| put(at + 5, &[0x50]));
    put(ZERO + 5, &[0x31, 0xc0, 0xc3, INT3]);
    // The last one is before a listed function, which shows that the called one never returns.
    for (before, called) in
        [(BEHIND_CALL, LISTED), (BEHIND_DEAD_END, DEAD_END), (LISTED + 0x100, DEAD_END)]
    {
        let at = before - 8;
        put(at, &branch(CALL, at.into(), called.into()));
    }
    made_up
}

/// How the call is judged in a kernel whose key names this function: whether it is wrong, and
/// whether it is not judged.
fn judged(is_nameless: bool, function: u32, form: &[u8]) -> (bool, bool) {
    let suspect = Suspect::new();
    let made_up = made_up(is_nameless);
    suspect.image(0, &made_up.text.bytes);
    let virt = suspect.kernel.text.virt.0 + u64::from(function);
    suspect.image(KEY, &virt.to_le_bytes());
    suspect.image(SITE, form);
    let opinion = opinion_by(made_up, &suspect);
    let is_not_judged = opinion.not_judged_places.iter().any(|(at, ..)| *at == SITE);
    (opinion.wrong.iter().any(|wrong| wrong.at == SITE), is_not_judged)
}

fn call(function: u32) -> [u8; 5] {
    branch(CALL, SITE.into(), function.into())
}

/// Check that a call to a function is as expected, that a place where a function may begin is not
/// judged, and that the middle of code is wrong. With symbols, each place but a function is wrong.
#[test]
fn where_calls_lead() {
    for (function, is_wrong, is_not_judged) in [
        (LISTED, false, false),
        (BEHIND_END, false, true),
        (INSIDE, true, false),
        (BEHIND_CALL, true, false),
        (BEHIND_DEAD_END, false, true),
        (BEHIND_END + 1, true, false),
    ] {
        let found = judged(true, function, &call(function));
        assert_eq!(found, (is_wrong, is_not_judged), "{function:#x}");
        assert_eq!(judged(false, function, &call(function)).0, function != LISTED);
    }
    assert_eq!(judged(true, LISTED, &call(ZERO)), (true, false));
}

/// Check that zero may stand in place of a call to a function that only returns zero, and of no
/// other. With symbols, the function's name decides.
#[test]
fn what_stands_for_calls() {
    assert_eq!(judged(true, ZERO, &XOR), (false, false));
    assert_eq!(judged(true, LISTED, &XOR), (true, false));
    assert_eq!(judged(false, ZERO, &XOR), (true, false));
}
