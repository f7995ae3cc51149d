//! Physical memory, as the rules divide it: other nodes' memory, canary pages, and what `/dev/mem`
//! may be written at.
//!
//! The verifier follows each branch to its end. So a loop over ranges has none: it collects the
//! signs of differences. No range of memory reaches as far as where such a sign would change.

use watchdog_common::{MAX_RANGES, MAX_WRITABLE, Range};

use crate::rules::{self, rules};

pub(crate) const PAGE_SHIFT: u32 = 12;
/// The last address of which a difference has the right sign.
const LAST: u64 = i64::MAX as u64;

/// Whole pages from page `pgoff` on; `None` when they do not fit an address.
#[inline(always)]
pub(crate) fn pages(pgoff: u64, bytes: u64) -> Option<Range> {
    const LAST_PAGE: u64 = u64::MAX >> PAGE_SHIFT;
    let page = (1 << PAGE_SHIFT) - 1;
    let start = pgoff << PAGE_SHIFT;
    let end = start.wrapping_add(bytes.wrapping_add(page) & !page);
    if pgoff > LAST_PAGE || end < start || bytes > u64::MAX - page {
        return None;
    }
    Some(Range { start, end })
}

/// Whether any byte is in another node's memory.
#[inline(always)]
pub(crate) fn is_protected(start: u64, end: u64) -> bool {
    let (start, end) = clamped(&Range { start, end });
    let range = candidate(start);
    start < range.end && range.start < end
}

/// Below zero if any byte is in another node's memory or the canary page; for addresses that are
/// not below zero themselves. It looks at every range: inside a loop over segments, the verifier
/// loses the bounds of the index that [`is_protected`] finds a range by (6.1).
#[inline(always)]
pub(crate) fn guarded_sign(start: u64, end: u64) -> i64 {
    // SAFETY: a static of this program.
    let canary = unsafe { core::ptr::read_volatile(&raw const (*rules()).canary) };
    let mut signs = sign(start, end, &canary);
    let mut n = 0;
    while n < MAX_RANGES {
        signs |= sign(start, end, &rules::range(n));
        n += 1;
    }
    signs
}

/// The first of the other nodes' ranges that ends behind `start`, which is at most [`LAST`]: memory
/// from there on overlaps this range or none. Ranges are ascending, so six looks find it. Functions
/// that run for every packet and block use this.
#[inline(always)]
fn candidate(start: u64) -> Range {
    // The number of ranges that end before `start` does begin; an unused place, whose end is 0, is
    // none of them.
    let mut before = 0_usize;
    let mut step = MAX_RANGES / 2;
    while step > 0 {
        let behind = rules::range(before + step - 1).end;
        // All ones where `behind <= start`: neither number reaches the sign.
        let last = behind.wrapping_sub(1) & LAST;
        let is_before = last.wrapping_sub(start).cast_signed() >> 63;
        before += step & is_before as usize;
        step /= 2;
    }
    rules::range(before)
}

/// Below zero if both overlap: then both differences are.
#[inline(always)]
fn sign(start: u64, end: u64, range: &Range) -> i64 {
    (start.wrapping_sub(range.end) & range.start.wrapping_sub(end)).cast_signed()
}

/// Whether `/dev/mem` may be written at all of it, by the rules.
#[inline(always)]
pub(crate) fn is_writable(aimed: &Range) -> bool {
    let (start, end) = clamped(aimed);
    let mut outside = -1_i64;
    let mut n = 0;
    while n < MAX_WRITABLE {
        // SAFETY: `n` is inside the array, which is a static of this program.
        let range = unsafe { core::ptr::read_volatile((&raw const (*rules()).writable[0]).add(n)) };
        outside &= outside_sign(start, end, &range);
        n += 1;
    }
    outside >= 0
}

/// The bounds of a range, so that no difference has the wrong sign.
#[inline(always)]
pub(crate) fn clamped(range: &Range) -> (u64, u64) {
    (range.start.min(LAST), range.end.min(LAST))
}

/// Below zero if any byte is outside a range; for addresses that are not below zero themselves.
#[inline(always)]
pub(crate) fn outside_sign(start: u64, end: u64, range: &Range) -> i64 {
    (start.wrapping_sub(range.start) | range.end.wrapping_sub(end)).cast_signed()
}

/// Whether any byte is in the canary page, at which the self-test tries what must be denied.
#[inline(always)]
pub(crate) fn is_canary(aimed: &Range) -> bool {
    // SAFETY: a static of this program.
    let canary = unsafe { core::ptr::read_volatile(&raw const (*rules()).canary) };
    overlap(aimed, &canary)
}

/// Whether any byte is in the inner canary page, which no program denies: the self-test reaches
/// programs there that cannot deny.
#[inline(always)]
pub(crate) fn is_inner_canary(aimed: &Range) -> bool {
    overlap(aimed, &inner_canary())
}

/// Whether all of it is in the inner canary page and the page before it: the self-test maps both
/// for a moment.
#[inline(always)]
pub(crate) fn is_for_tests(aimed: &Range) -> bool {
    let canary = inner_canary();
    let pages = Range { start: canary.start.wrapping_sub(1 << PAGE_SHIFT), end: canary.end };
    let (start, end) = clamped(aimed);
    outside_sign(start, end, &pages) >= 0
}

#[inline(always)]
fn inner_canary() -> Range {
    // SAFETY: a static of this program.
    unsafe { core::ptr::read_volatile(&raw const (*rules()).inner_canary) }
}

#[inline(always)]
fn overlap(one: &Range, other: &Range) -> bool {
    one.start < other.end && other.start < one.end
}
