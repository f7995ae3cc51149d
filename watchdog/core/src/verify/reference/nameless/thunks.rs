//! The thunks of returns and of indirect branches (arch/x86/lib/retpoline.S, 5.15 to 7.2).
//!
//! The linked thunks are where the branches of `.retpoline_sites` lead. The others are arrays of 16
//! thunks, one for each register in the order of its number. An array whose 16 thunks all have
//! their form is nothing else.

use std::collections::BTreeSet;

use super::text::{JMP, Text, unanimous};
use crate::verify::reference::REGISTERS;

/// Bytes from one thunk of an array to the next.
const THUNK: u32 = 32;
/// Bytes from one thunk in the upper half of a cache line to the next, and to the first from the
/// start of its line.
const LINE: u32 = 64;
const HALF: u32 = 32;
/// Bytes of `sarq $5,%gs:…`, which counts a call (`CALL_DEPTH_ACCOUNT`), as NOPs.
const COUNTING: [u8; 9] = [0x90; 9];
const INT3: u8 = 0xcc;

/// Whether the thunk of a register, by its number, is at an image offset.
type IsThunk<'a> = &'a dyn Fn(u32, usize) -> bool;

/// The target of all jumps in `.return_sites`: `__x86_return_thunk`.
pub(super) fn return_thunk(text: &Text<'_>) -> Option<u32> {
    unanimous(text.places(".return_sites").filter_map(|at| text.target(JMP, at)))
}

/// The thunks, by name.
pub(super) fn names(text: &Text<'_>) -> Vec<(String, u32)> {
    let targets = text.places(".retpoline_sites").filter_map(|at| text.branch(at));
    let linked: BTreeSet<u32> = targets.collect();
    let of_register = |prefix: &str, number: usize, at: u32| {
        Some((format!("__x86_indirect_{prefix}thunk_{}", REGISTERS.get(number)?), at))
    };
    let mut names: Vec<_> =
        linked.iter().filter_map(|at| of_register("", register(text, *at)?, *at)).collect();
    let arrays: [(&str, u32, u32, IsThunk<'_>); 3] = [
        ("call_", THUNK, 0, &|at, number| {
            text.code(at) == Some(COUNTING) && is_counting(text, at.saturating_add(9), number)
        }),
        ("jump_", THUNK, 0, &|at, number| !linked.contains(&at) && is_counting(text, at, number)),
        ("its_", LINE, HALF, &|at, number| is_aligned(text, at, number)),
    ];
    for (prefix, stride, phase, is_thunk) in arrays {
        let thunks = array(text, stride, phase, is_thunk).into_iter().flatten();
        names.extend(thunks.enumerate().filter_map(|(n, at)| of_register(prefix, n, at)));
    }
    let named =
        [("__x86_return_thunk", text.return_thunk), ("its_return_thunk", aligned_return(text))];
    names.extend(named.into_iter().filter_map(|(name, at)| Some((name.to_owned(), at?))));
    names
}

/// The register that a linked thunk jumps to: by `mov %REGISTER,(%rsp)` behind its inner call, or
/// by a jump (up to 5.15).
fn register(text: &Text<'_>, at: u32) -> Option<usize> {
    (0..REGISTERS.len()).find(|number| {
        let call = text.target(super::text::CALL, at).filter(|target| *target > at);
        let is_moved = call.is_some_and(|target| text.code(target) == Some(store(*number)));
        is_moved || jump(text, at, *number)
    })
}

/// `mov %REGISTER,(%rsp)`.
fn store(number: usize) -> [u8; 4] {
    let number = u8::try_from(number).unwrap_or_default();
    let prefix = if number < 8 { 0x48 } else { 0x4c };
    [prefix, 0x89, 0x04 | (number & 7) << 3, 0x24]
}

/// Whether `jmp *%REGISTER` is here.
fn jump(text: &Text<'_>, at: u32, number: usize) -> bool {
    let number = u8::try_from(number).unwrap_or_default();
    let jump = [0xff, 0xe0 | (number & 7)];
    match number {
        0..8 => text.code(at) == Some(jump),
        _ => text.code(at) == Some([0x41, jump[0], jump[1]]),
    }
}

/// Whether a retpoline with a plain return is here, as only thunks that count calls have it.
fn is_counting(text: &Text<'_>, at: u32, number: usize) -> bool {
    const CALL_OVER: [u8; 6] = [0xe8, 1, 0, 0, 0, INT3];
    let [stored, returned] = [6, 10].map(|behind| at.saturating_add(behind));
    text.code(at) == Some(CALL_OVER)
        && text.code(stored) == Some(store(number))
        && text.code(returned) == Some([0xc3, INT3])
}

/// Whether a bare jump is here that `int3` fills up to the end of its cache line.
fn is_aligned(text: &Text<'_>, at: u32, number: usize) -> bool {
    let length = if number < 8 { 2 } else { 3 };
    let filling = HALF.saturating_sub(length);
    let behind = text.image.bytes(at.saturating_add(length), filling).unwrap_or_default();
    jump(text, at, number) && !behind.is_empty() && behind.iter().all(|byte| *byte == INT3)
}

/// The thunks of the only array of 16 of them; `None` if there is none, or more than one.
fn array(text: &Text<'_>, stride: u32, phase: u32, is_thunk: IsThunk<'_>) -> Option<Vec<u32>> {
    let step = usize::try_from(stride).ok()?;
    let thunks = |first: u32| (first..).step_by(step).take(REGISTERS.len());
    let is_array =
        |first: &u32| thunks(*first).enumerate().all(|(number, at)| is_thunk(at, number));
    let mut found = (phase..text.size).step_by(step).filter(is_array);
    let first = found.next()?;
    found.next().is_none().then(|| thunks(first).collect())
}

/// `its_return_thunk`: the only return in the upper half of a cache line whose lower half is
/// filled with `int3`.
fn aligned_return(text: &Text<'_>) -> Option<u32> {
    let is_it = |at: &u32| {
        let before = text.before(*at, HALF).unwrap_or_default();
        text.code(*at) == Some([0xc3, INT3])
            && !before.is_empty()
            && before.iter().all(|byte| *byte == INT3)
    };
    unanimous((HALF..text.size).step_by(LINE as usize).filter(is_it))
}
