//! Whether memory is another node's, for functions that are called for every packet and block: the
//! ranges are ascending, so six looks are enough where `access` takes one for each of 64.

use watchdog_common::MAX_RANGES;

use crate::rules;

/// Whether any byte is in another node's memory. Without a branch on the way, which the verifier
/// would follow to its end.
#[inline(always)]
pub(crate) fn is_protected(start: u64, end: u64) -> bool {
    const LAST: u64 = i64::MAX as u64;
    let (start, end) = (start.min(LAST), end.min(LAST));
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
    let range = rules::range(before);
    start < range.end && range.start < end
}
