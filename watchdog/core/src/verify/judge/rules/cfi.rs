//! Control-flow integrity of indirect calls (`__apply_fineibt()`, arch/x86/kernel/alternative.c,
//! since 6.2). As linked, a caller compares a hash with the one before the function (kCFI). At boot
//! the kernel changes all hashes by one seed. It then keeps the checks, jumps over them, or moves
//! them into the functions (FineIBT). Hashes of functions that no pointer names are zeroed
//! (`poison_cfi()`).
//!
//! The rules follow the source of 6.12. A kernel of which most places have other forms is not
//! judged: `cfi=paranoid` and `cfi=bhi` (since 6.15), and what comes next. A single place with
//! another form was changed.

use super::super::agreement::{CfiPlace, Class};
use super::super::cfi::{CALLER, Cfi, ENDBR64, Mode, PREAMBLE};
use super::super::cfi_places::is_check;
use super::super::site::Site;
use super::call_sites::judge_padding;
use super::context::{Rules, SiteState};
use super::ibt_seals::SEALED;

const WRONG: &str = "not the check that the kernel's mode and seed make";
const UNKNOWN: &str = "the kernel does not name the state of its control-flow integrity";
const OTHER: &str = "a form of control-flow integrity that this version does not know";

/// A jump over the rest of a check (`cfi_disable_callers()`).
const SKIPPED: [u8; 2] = [0xeb, 0x0c];
/// Where the hash is in code before a function, as linked and with FineIBT, and before a call.
const LINKED_HASH: usize = 1;
const FINE_HASH: usize = 7;
const CALLER_HASH: usize = 2;
/// Bytes of a linked preamble that hold the hash. Padding follows, in which calls may be counted.
const HASHED: usize = 5;

/// The forms of FineIBT and the mode of the kernel, or how a site is judged without them.
fn known<'a>(
    rules: &Rules<'a>,
    live: &[u8],
    to: u32,
) -> Result<(&'a Cfi, Option<Mode>), SiteState> {
    match &rules.expected.cfi {
        Some(cfi) => Ok((cfi, cfi.mode(rules.state))),
        None if rules.expected.linked(to, live.len()) == live => Err(SiteState::Expected),
        None => Err(SiteState::NotJudged(UNKNOWN)),
    }
}

/// The code before a function.
pub(super) fn judge_preamble(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let (cfi, mode) = match known(rules, live, to) {
        Ok(known) => known,
        Err(state) => return state,
    };
    let entry = to.saturating_add(PREAMBLE);
    let is_sealed = rules.expected.reference.tables.ibt_seals.binary_search(&entry).is_ok();
    let is_right = is_preamble(rules, cfi, mode, is_sealed, live, to).unwrap_or(false);
    form(rules, CfiPlace::Preamble { is_sealed }, is_right)
}

fn is_preamble(
    rules: &Rules<'_>,
    cfi: &Cfi,
    mode: Option<Mode>,
    is_sealed: bool,
    live: &[u8],
    to: u32,
) -> Option<bool> {
    let linked = rules.expected.linked(to, live.len());
    let Some(mode) = mode else { return Some(linked == live) };
    let hash = cfi.rehash(rules.state, hash_at(linked, LINKED_HASH)?)?;
    let hash = if is_sealed && mode != Mode::Off { 0 } else { hash };
    // Since 6.15, a function without a landing pad keeps its linked form.
    let keeps = rules.expected.linked(to.saturating_add(PREAMBLE), 4) != ENDBR64;
    let mut fine = cfi.preamble;
    put(&mut fine, FINE_HASH, hash);
    let pads: &[[u8; 4]] = if is_sealed { &SEALED } else { &[ENDBR64] };
    let is_fine = pads.iter().any(|pad| live.starts_with(pad)) && live.get(4..) == fine.get(4..);
    if mode == Mode::FineIbt && (is_fine || !keeps) {
        return Some(is_fine);
    }
    let mut kept: [u8; HASHED] = *linked.first_chunk()?;
    put(&mut kept, LINKED_HASH, hash);
    Some(live.starts_with(&kept) && is_padding(rules, live, to, HASHED))
}

/// Whether the padding from `start` on is as linked, or has the code that counts calls at its end.
fn is_padding(rules: &Rules<'_>, live: &[u8], to: u32, start: usize) -> bool {
    let linked = rules.expected.linked(to, live.len());
    let length = rules.expected.counting.as_ref().map_or(0, |counting| counting.length());
    let count = live.len().saturating_sub(length).max(start);
    let at = to.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    live.get(start..count) == linked.get(start..count)
        && judge_padding(rules, live.get(count..).unwrap_or_default(), at) == SiteState::Expected
}

/// The landing pad of a function with a hash. With FineIBT, all calls come through the pad before
/// the function, and this one is sealed.
pub(super) fn judge_entry(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let mode = match known(rules, live, to) {
        Ok((_, mode)) => mode,
        Err(state) => return state,
    };
    let is_right = match mode {
        Some(Mode::FineIbt) => SEALED.iter().any(|pad| live == pad),
        _ => live == ENDBR64,
    };
    form(rules, CfiPlace::Entry, is_right)
}

/// The bytes before a sealed function without a hash. Up to 6.14, the kernel zeroes its hash even
/// so.
pub(super) fn judge_seal(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let mode = match known(rules, live, to) {
        Ok((_, mode)) => mode,
        Err(state) => return state,
    };
    let mut zeroed = rules.expected.linked(to, live.len()).to_vec();
    let (hash, behind) = match mode {
        Some(Mode::Kcfi) => (LINKED_HASH, HASHED),
        Some(Mode::FineIbt) => (FINE_HASH, live.len()),
        _ => (live.len(), 0),
    };
    put(&mut zeroed, hash, 0);
    let is_zeroed = live.get(..behind) == zeroed.get(..behind);
    let is_right =
        is_padding(rules, live, to, 0) || (is_zeroed && is_padding(rules, live, to, behind));
    form(rules, CfiPlace::Seal, is_right)
}

/// The check before an indirect call.
pub(super) fn judge_caller(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let (cfi, mode) = match known(rules, live, to) {
        Ok(known) => known,
        Err(state) => return state,
    };
    let is_right = is_caller(rules, cfi, mode, live, to).unwrap_or(false);
    form(rules, CfiPlace::Caller, is_right)
}

fn is_caller(
    rules: &Rules<'_>,
    cfi: &Cfi,
    mode: Option<Mode>,
    live: &[u8],
    to: u32,
) -> Option<bool> {
    let mut kept: [u8; CALLER as usize] = *rules.expected.linked(to, live.len()).first_chunk()?;
    let Some(mode) = mode else { return Some(live == kept) };
    // The negative of the hash is linked.
    let hash = cfi.rehash(rules.state, hash_at(&kept, CALLER_HASH)?.wrapping_neg())?;
    put(&mut kept, CALLER_HASH, hash.wrapping_neg());
    match mode {
        Mode::Kcfi => {}
        Mode::Off => kept.get_mut(..2)?.copy_from_slice(&SKIPPED),
        Mode::FineIbt => {
            kept = cfi.caller;
            put(&mut kept, CALLER_HASH, hash);
        }
    }
    Some(live == kept)
}

/// Judges an indirect call, of which its own rule says `state`. With `cfi=paranoid`, the kernel
/// also rewrites the call behind a check (`cfi_rewrite_callers()`).
pub(super) fn judge_call(rules: &mut Rules<'_>, site: &Site, state: SiteState) -> SiteState {
    let cfi = rules.expected.cfi.as_ref();
    let check = site.at.checked_sub(CALLER).filter(|at| is_check(rules.expected, *at));
    let mode = cfi.filter(|_| check.is_some()).and_then(|cfi| cfi.mode(rules.state));
    if mode != Some(Mode::FineIbt) {
        return state;
    }
    match form(rules, CfiPlace::Call, state == SiteState::Expected) {
        unknown @ SiteState::NotJudged(_) => unknown,
        _ => state,
    }
}

/// Judges a place by whether it has the form that its rule makes.
fn form(rules: &mut Rules<'_>, place: CfiPlace, is_right: bool) -> SiteState {
    if is_right {
        rules.votes.cast(Class::Cfi(place), 0);
        return SiteState::Expected;
    }
    match rules.vote(Class::Cfi(place), 1) {
        SiteState::Expected => SiteState::NotJudged(OTHER),
        _ => SiteState::Unexpected(WRONG),
    }
}

fn hash_at(code: &[u8], at: usize) -> Option<u32> {
    code.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn put(code: &mut [u8], at: usize, hash: u32) {
    if let Some(place) = code.get_mut(at..at.saturating_add(4)) {
        place.copy_from_slice(&hash.to_le_bytes());
    }
}
