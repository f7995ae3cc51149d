//! Physical memory, as the rules divide it: other nodes' memory, canary pages, and memory that may
//! be written through `/dev/mem`.
//!
//! The verifier follows each branch to its end. So a loop over ranges has no branch, and collects
//! the signs of differences instead. Physical addresses are too small to overflow such a sign.

use watchdog_common::{MAX_RANGES, MAX_WRITABLE, Range};

use crate::rules::{self, rules};

pub(crate) const PAGE_SHIFT: u32 = 12;
/// The last address whose differences have the correct sign.
const LAST: u64 = i64::MAX as u64;

/// Whole pages from page `pgoff` on; `None` if they exceed the addresses.
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

/// Negative if any byte is in another node's memory or the canary page. The addresses must not be
/// negative themselves. This checks every range: inside a loop over segments, the verifier loses
/// the bounds of the index by which [`is_protected`] finds a range (6.1).
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

/// The first range of other nodes that ends after `start`, which must be at most [`LAST`]. Memory
/// that begins at `start` overlaps this range or none. Ranges are ascending, so six steps find it.
/// Programs that run for every packet and block use this.
#[inline(always)]
fn candidate(start: u64) -> Range {
    // The number of ranges that end at or before `start`. An unused entry has the end 0 and does
    // not count.
    let mut before = 0_usize;
    let mut step = MAX_RANGES / 2;
    while step > 0 {
        let behind = rules::range(before + step - 1).end;
        // All ones if `0 < behind <= start`: neither number reaches the sign bit.
        let last = behind.wrapping_sub(1) & LAST;
        let is_before = last.wrapping_sub(start).cast_signed() >> 63;
        before += step & is_before as usize;
        step /= 2;
    }
    rules::range(before)
}

/// Negative if both ranges overlap: then both differences are negative.
#[inline(always)]
fn sign(start: u64, end: u64, range: &Range) -> i64 {
    (start.wrapping_sub(range.end) & range.start.wrapping_sub(end)).cast_signed()
}

/// Whether the rules allow writes to the whole range through `/dev/mem`.
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

/// The bounds of a range, limited so that every difference has the correct sign.
#[inline(always)]
pub(crate) fn clamped(range: &Range) -> (u64, u64) {
    (range.start.min(LAST), range.end.min(LAST))
}

/// Negative if any byte is outside a range. The addresses must not be negative themselves.
#[inline(always)]
pub(crate) fn outside_sign(start: u64, end: u64, range: &Range) -> i64 {
    (start.wrapping_sub(range.start) | range.end.wrapping_sub(end)).cast_signed()
}

/// Whether any byte is in the canary page. The self-test attempts accesses there that must be
/// denied.
#[inline(always)]
pub(crate) fn is_canary(aimed: &Range) -> bool {
    // SAFETY: a static of this program.
    let canary = unsafe { core::ptr::read_volatile(&raw const (*rules()).canary) };
    overlap(aimed, &canary)
}

/// Whether any byte is in the inner canary page. No program denies access there, so the self-test
/// reaches programs that cannot deny.
#[inline(always)]
pub(crate) fn is_inner_canary(aimed: &Range) -> bool {
    overlap(aimed, &inner_canary())
}

/// Whether the whole range is in the inner canary page and the page before it. The self-test maps
/// both for a short time.
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
