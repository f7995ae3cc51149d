//! The places that control-flow integrity may rewrite.

use super::Expected;
use super::cfi::{CALLER, ENDBR64, PREAMBLE};
use super::site::Kind;

/// The beginning of a caller's check as linked: `mov $hash,%r10d`.
const CALLER_START: [u8; 2] = [0x41, 0xba];

/// All these places, each with its bytes.
pub(super) fn sites(expected: &Expected) -> Vec<(u32, usize, Kind)> {
    let tables = &expected.reference.tables;
    if tables.cfi.is_empty() {
        return Vec::new();
    }
    let is_in = |table: &[u32], at: u32| table.binary_search(&at).is_ok();
    let preambles = tables.cfi.iter().map(|at| (*at, PREAMBLE as usize, Kind::CfiPreamble));
    let entries =
        tables.cfi.iter().map(|at| at.saturating_add(PREAMBLE)).filter(|entry| {
            expected.linked(*entry, 4) == ENDBR64 && !is_in(&tables.ibt_seals, *entry)
        });
    let seals = tables.ibt_seals.iter().filter_map(|at| at.checked_sub(PREAMBLE));
    let seals = seals.filter(|at| !is_in(&tables.cfi, *at));
    let callers = tables.retpolines.iter().filter_map(|at| at.checked_sub(CALLER));
    let callers = callers.filter(|at| is_check(expected, *at));
    preambles
        .chain(entries.map(|at| (at, 4, Kind::CfiEntry)))
        .chain(seals.map(|at| (at, PREAMBLE as usize, Kind::CfiSeal)))
        .chain(callers.map(|at| (at, CALLER as usize, Kind::CfiCaller)))
        .collect()
}

/// Whether a caller's check is linked at an image offset (`decode_caller_hash()`).
pub(super) fn is_check(expected: &Expected, at: u32) -> bool {
    expected.linked(at, CALLER_START.len()) == CALLER_START
}
