//! Whether memory aimed at is protected, and what policy says about it.

use aya_ebpf::helpers::generated::bpf_send_signal;
use watchdog_common::{MAX_RANGES, MAX_WRITABLE, Range, action, path};

use crate::identity::is_tester;
use crate::rules::{policy, refuses, rules};
use crate::{lease, report};

pub(crate) const EPERM: i32 = 1;
const SIGKILL: u32 = 9;
const PAGE_SHIFT: u32 = 12;

/// What an earlier LSM program decided stands. The kernel wants a verdict in -4095..=0 (6.12).
#[inline(always)]
pub(crate) fn earlier(verdict: i32) -> Option<i32> {
    if verdict == 0 { None } else { Some(-EPERM) }
}

/// Decides about a BPF program of others, or the watchdog's own attempt to load one.
#[inline(always)]
pub(crate) fn deny_program(path: u32, usage: u32) -> i32 {
    apply_policy(path, Range::default(), true, usage, Means::Refuse)
}

/// Decides about what happened already and is not a matter of ranges.
#[inline(always)]
pub(crate) fn kill_or_report_detail(path: u32, detail: u32) {
    apply_policy(path, Range::default(), false, detail, Means::Observe);
}

/// Decides about writing to memory by a way of `watchdog_common::path`; memory that is not known
/// counts as protected. One call a program: the verifier follows each to its end.
///
/// All of memory is refused but what the rules leave, what a lease is for, and to the watchdog the
/// pages on which it tries what comes behind this.
#[inline(always)]
pub(crate) fn deny_write(path: u32, aimed: Option<Range>) -> i32 {
    // SAFETY: a static of this program.
    let canary = unsafe { core::ptr::read_volatile(&raw const (*rules()).canary) };
    let is_known = aimed.is_some();
    let aimed = aimed.unwrap_or_default();
    let is_canary = is_known && overlap(&aimed, &canary);
    if is_known && !is_canary && (may_write(&aimed) || lease::allows(&aimed) || is_own_page(&aimed))
    {
        return 0;
    }
    if !is_known && is_tester() {
        // It is at the canary page, as will be seen at its next try.
        return -EPERM;
    }
    apply_policy(path, aimed, is_canary, 0, Means::Refuse)
}

/// The same for programs that cannot refuse: they have a canary page of their own, where nothing
/// is denied before it gets to them.
#[inline(always)]
pub(crate) fn kill_or_report(path: u32, start: u64, end: u64) {
    let aimed = Range { start, end };
    if !is_probe(path, start, end) && is_protected(&aimed) && !lease::allows(&aimed) {
        apply_policy(path, aimed, false, 0, Means::Observe);
    }
}

/// Decides about what is refused elsewhere and got through all the same: who does that is killed.
#[inline(always)]
pub(crate) fn kill(path: u32, start: u64, end: u64) {
    let aimed = Range { start, end };
    if is_protected(&aimed) && !lease::allows(&aimed) {
        apply_policy(path, aimed, false, 0, Means::Kill);
    }
}

/// Decides about another node's memory that was reached already, where no probe is made.
#[inline(always)]
pub(crate) fn kill_or_report_protected(path: u32, start: u64, end: u64) {
    apply_policy(path, Range { start, end }, false, 0, Means::Observe);
}

/// Decides as [`deny`], for programs that can send no signal.
#[inline(always)]
pub(crate) fn deny_open(path: u32) -> i32 {
    apply_policy(path, Range::default(), true, 0, Means::OnlyRefuse)
}

/// Whether it is a probe at the canary page of programs that cannot refuse; then it is counted.
#[inline(always)]
pub(crate) fn is_probe(path: u32, start: u64, end: u64) -> bool {
    let is_probe = is_inner_canary(start, end) && is_tester();
    if is_probe {
        report::count_probe(path);
    }
    is_probe
}

/// Whether memory is the canary page of programs that cannot refuse.
#[inline(always)]
pub(crate) fn is_inner_canary(start: u64, end: u64) -> bool {
    // SAFETY: a static of this program.
    let canary = unsafe { core::ptr::read_volatile(&raw const (*rules()).inner_canary) };
    overlap(&Range { start, end }, &canary)
}

/// Whether the current process may write all of it by `/dev/mem`: where nobody may open that for
/// writing, only who holds a lease does.
#[inline(always)]
fn may_write(aimed: &Range) -> bool {
    is_writable(aimed) && (!refuses(path::OPEN) || lease::allows_to_begin())
}

/// Whether all of it is left by the rules to be written.
#[inline(always)]
pub(crate) fn is_writable(aimed: &Range) -> bool {
    let mut outside = -1_i64;
    let mut n = 0;
    while n < MAX_WRITABLE {
        // SAFETY: `n` is inside the array, which is a static of this program.
        let range = unsafe { core::ptr::read_volatile((&raw const (*rules()).writable[0]).add(n)) };
        outside &= beyond(aimed, &range);
        n += 1;
    }
    outside >= 0
}

/// Below zero when any byte is outside a range, without a branch.
#[inline(always)]
fn beyond(aimed: &Range, range: &Range) -> i64 {
    const LAST: u64 = i64::MAX as u64;
    let (start, end) = (aimed.start.min(LAST), aimed.end.min(LAST));
    (start.wrapping_sub(range.start) | range.end.wrapping_sub(end)).cast_signed()
}

/// Whether it is the watchdog at the pages behind what is refused, of which it maps two for a
/// moment.
#[inline(always)]
fn is_own_page(aimed: &Range) -> bool {
    // SAFETY: a static of this program.
    let canary = unsafe { core::ptr::read_volatile(&raw const (*rules()).inner_canary) };
    let pages = Range { start: canary.start.wrapping_sub(1 << PAGE_SHIFT), end: canary.end };
    beyond(aimed, &pages) >= 0 && is_tester()
}

/// Whether any byte is in another node's memory. No range of memory reaches as far as where the
/// sign of a difference would change.
#[inline(always)]
fn is_protected(aimed: &Range) -> bool {
    const LAST: u64 = i64::MAX as u64;
    in_ranges(aimed.start.min(LAST), aimed.end.min(LAST)) < 0
}

/// Below zero when any byte is in another node's memory or the canary page, without a branch;
/// for addresses that are not below zero themselves.
#[inline(always)]
pub(crate) fn signs(start: u64, end: u64) -> i64 {
    // SAFETY: a static of this program.
    let canary = unsafe { core::ptr::read_volatile(&raw const (*rules()).canary) };
    sign(start, end, &canary) | in_ranges(start, end)
}

/// The same of the other nodes' memory alone.
#[inline(always)]
fn in_ranges(start: u64, end: u64) -> i64 {
    let mut signs = 0;
    let mut n = 0;
    while n < MAX_RANGES {
        // SAFETY: `n` is inside the array, which is a static of this program.
        let range = unsafe { core::ptr::read_volatile((&raw const (*rules()).ranges[0]).add(n)) };
        signs |= sign(start, end, &range);
        n += 1;
    }
    signs
}

/// Below zero when both overlap: then both differences are.
#[inline(always)]
fn sign(start: u64, end: u64, range: &Range) -> i64 {
    (start.wrapping_sub(range.end) & range.start.wrapping_sub(end)).cast_signed()
}

/// Physical memory from page `pgoff` on, whole pages; `None` when it does not fit an address.
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

/// Decides about what belongs to the guard; who is trusted is asked before.
#[inline(always)]
pub(crate) fn deny_self_act(act: u32) -> i32 {
    apply_policy(path::SELF_PROTECTION, Range::default(), false, act, Means::Refuse)
}

/// Decides about what belongs to the guard where it cannot be refused: who does that is killed.
#[inline(always)]
pub(crate) fn kill_self_act(act: u32) {
    apply_policy(path::SELF_PROTECTION, Range::default(), false, act, Means::Kill);
}

/// Decides about what is not a matter of ranges; the watchdog's own attempt is a probe.
#[inline(always)]
pub(crate) fn deny(path: u32, detail: u32) -> i32 {
    apply_policy(path, Range::default(), true, detail, Means::Refuse)
}

/// What a program can do by itself.
#[derive(Clone, Copy)]
enum Means {
    /// Refuse, or kill.
    Refuse,
    /// Refuse and nothing else.
    OnlyRefuse,
    /// Observe, or kill: it has happened already.
    Observe,
    /// Kill where it is to be refused.
    Kill,
}

/// Does what the policy says and reports it. `may_be_probe`: by the watchdog itself it is one.
#[inline(always)]
fn apply_policy(path: u32, aimed: Range, may_be_probe: bool, detail: u32, means: Means) -> i32 {
    let mut done = policy(path);
    if done == action::OFF {
        return 0;
    }
    let verdict = if done == action::OBSERVE { 0 } else { -EPERM };
    if may_be_probe && is_tester() {
        report::count_probe(path);
        return verdict;
    }
    done = match means {
        Means::OnlyRefuse => done.min(action::DENY),
        Means::Observe if done == action::DENY => action::OBSERVE,
        Means::Kill if done == action::DENY => action::KILL,
        Means::Refuse | Means::Observe | Means::Kill => done,
    };
    if done == action::KILL {
        // SAFETY: the helper takes a number.
        let failed = unsafe { bpf_send_signal(SIGKILL) } != 0;
        // No signal can be sent to a kernel thread or to process 1.
        done = match means {
            _ if !failed => done,
            Means::Refuse | Means::OnlyRefuse => action::DENY,
            Means::Observe | Means::Kill => action::OBSERVE,
        };
    }
    report::attempt(path, aimed, done, detail);
    verdict
}

#[inline(always)]
fn overlap(one: &Range, other: &Range) -> bool {
    one.start < other.end && other.start < one.end
}
