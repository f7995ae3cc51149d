//! Whether memory aimed at is protected.

use watchdog_common::{MAX_RANGES, Range, Rules};

use crate::report;

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static RULES: Rules = Rules::EMPTY;

const EPERM: i32 = 1;
const PAGE_SHIFT: u32 = 12;

/// What an earlier LSM program decided stands. The kernel wants a verdict in -4095..=0 (6.12).
#[inline(always)]
pub(crate) fn earlier(verdict: i32) -> Option<i32> {
    if verdict == 0 { None } else { Some(-EPERM) }
}

/// The frozen rules, by pointer: they are too large to be copied.
#[inline(always)]
fn rules() -> *const Rules {
    &raw const RULES
}

/// The watchdog's process id.
#[inline(always)]
pub(crate) fn watchdog() -> u32 {
    // SAFETY: a static of this program.
    unsafe { core::ptr::read_volatile(&raw const (*rules()).watchdog) }
}

/// Whether a writable open is denied as such.
#[inline(always)]
pub(crate) fn denies_open() -> bool {
    // SAFETY: a static of this program.
    unsafe { core::ptr::read_volatile(&raw const (*rules()).deny_open) != 0 }
}

/// Decides about writing `start..end` by a way of `watchdog_common::path`; a denial is reported.
#[inline(always)]
pub(crate) fn write(path: u32, start: u64, end: u64) -> i32 {
    let aimed = Range { start, end };
    // SAFETY: a static of this program.
    let decoy = unsafe { core::ptr::read_volatile(&raw const (*rules()).decoy) };
    if overlap(&aimed, &decoy) {
        return deny(path, aimed, true);
    }
    let mut n = 0;
    while n < MAX_RANGES {
        // SAFETY: `n` is inside the array, which is a static of this program.
        let range = unsafe { core::ptr::read_volatile((&raw const (*rules()).ranges[0]).add(n)) };
        if overlap(&aimed, &range) {
            return deny(path, aimed, false);
        }
        n += 1;
    }
    0
}

/// Decides about pages `pgoff` on, `bytes` long: what does not fit an address is denied.
#[inline(always)]
pub(crate) fn map(path: u32, pgoff: u64, bytes: u64) -> i32 {
    const LAST_PAGE: u64 = u64::MAX >> PAGE_SHIFT;
    let page = (1 << PAGE_SHIFT) - 1;
    let start = pgoff << PAGE_SHIFT;
    let end = start.wrapping_add(bytes.wrapping_add(page) & !page);
    if pgoff > LAST_PAGE || end < start || bytes > u64::MAX - page {
        return unknown(path);
    }
    write(path, start, end)
}

/// Denies what cannot be judged because it is not known what it aims at.
#[inline(always)]
pub(crate) fn unknown(path: u32) -> i32 {
    deny(path, Range { start: 0, end: 0 }, false)
}

/// Denies and reports.
#[inline(always)]
pub(crate) fn deny(path: u32, aimed: Range, decoy: bool) -> i32 {
    report::denied(path, aimed, decoy);
    -EPERM
}

#[inline(always)]
fn overlap(one: &Range, other: &Range) -> bool {
    one.start < other.end && other.start < one.end
}
