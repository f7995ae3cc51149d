//! Tests of the log: which entries it keeps, and for how long.

use super::*;
use crate::watch::made_up::write_attempt;
use watchdog_core::memory::{PhysRange, UseKind};
use watchdog_guard::Preset;

fn range(text: &str) -> PhysRange {
    text.parse().expect("a range")
}

fn attempt(path: WritePath, action: Policy, at: &str) -> GuardEvent {
    GuardEvent::Attempt(write_attempt(7, path, action, range(at)))
}

fn allowed(path: WritePath) -> Access {
    Access::Allowed { path, pid: 7, comm: b"dd".to_vec() }
}

fn killed(path: WritePath) -> Access {
    Access::Killed { path, pid: 7, comm: b"dd".to_vec() }
}

/// All access to a range that the log holds and that came after `since`.
fn since(log: &WriteLog, since: Instant, at: &str) -> Vec<Access> {
    let memory = [range(at)].into_iter().collect();
    log.snapshot().since(since, &memory).cloned().collect()
}

/// Check that the log holds attempts that the guard did not stop, by place, and none that it
/// denied. Check that access through a mapping lasts, and that other access is over at once.
#[test]
fn events() {
    let mut policies = Policies::of(Preset::Standard);
    policies.set(WritePath::Write, Policy::Observe).expect("it can be observed");
    let (log, begun) = (WriteLog::new(policies), Instant::now());
    assert!(!log.has_guard());
    log.record_self_test(true);
    assert!(log.has_guard());
    let there = |from| since(&log, from, "0x1000..0x3000");
    log.record_event(&attempt(WritePath::Mmap, Policy::Deny, "0x1000..0x2000"));
    log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x3000..0x4000"));
    log.record_event(&GuardEvent::Lost { path: WritePath::Mmap, count: 3 });
    log.record_event(&GuardEvent::Unreported { path: WritePath::Write, count: 3 });
    assert_eq!(there(begun), []);
    log.record_event(&attempt(WritePath::Write, Policy::Observe, "0x2fff..0x4000"));
    log.record_event(&attempt(WritePath::Held, Policy::Kill, "0x2fff..0x4000"));
    log.record_event(&GuardEvent::Lost { path: WritePath::Write, count: 3 });
    log.record_event(&GuardEvent::RecursionMisses { path: WritePath::Mmap, count: 2 });
    let unjudged = Access::Unjudged { path: WritePath::Mmap, count: 2 };
    let expected = [
        Access::Unreported { path: WritePath::Write, count: 3 },
        killed(WritePath::Held),
        allowed(WritePath::Write),
        unjudged.clone(),
    ];
    assert_eq!(there(begun), expected);
    assert_eq!(there(Instant::now()), vec![unjudged.clone()]);
    log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x2fff..0x4000"));
    assert_eq!(there(Instant::now()), [allowed(WritePath::Mmap), unjudged]);
}

/// Check that a process that was killed for a driver's mapping stays in the log until the processes
/// that share its memory are found.
#[test]
fn killed_for_a_mapping() {
    let log = WriteLog::default();
    log.record_event(&attempt(WritePath::Frames, Policy::Kill, "0x1000..0x2000"));
    let now = Instant::now();
    let there = |from| since(&log, from, "0x1000..0x3000");
    assert_eq!(there(now), [killed(WritePath::Frames)]);
    assert_eq!(there(now + SHARED), []);
}

/// Check that a use by the kernel is known while it lasts. Check that a use and a lease that are
/// over are entries with their time.
#[test]
fn uses_and_leases() {
    let (log, begun) = (WriteLog::default(), Instant::now());
    let used =
        MemoryUse { range: range("0x2000..0x2001"), kind: UseKind::Mapped("phram".to_owned()) };
    let there = |from| since(&log, from, "0x1000..0x3000");
    log.record_uses(&[], &[used.clone()].into());
    assert_eq!((log.snapshot().uses.len(), there(begun)), (1, vec![]));
    log.record_uses(std::slice::from_ref(&used), &BTreeSet::new());
    let terms = r#"{"node":"web","exe":"/usr/bin/boot","sha256":"","milliseconds":0,"user":""}"#;
    let terms = serde_json::from_str(terms).expect("the terms of a lease");
    log.record_lease([range("0x1000..0x2000")].into_iter().collect(), &terms);
    assert!(log.snapshot().uses.is_empty());
    let leased = Access::Leased { exe: "/usr/bin/boot".to_owned() };
    assert_eq!(there(begun), [leased, Access::Used(used)]);
    assert_eq!(there(Instant::now()), []);
    assert_eq!(since(&log, begun, "0x3000..0x4000"), []);
}

/// Check the bounds: the log keeps the last entries of access that is over, and the first of access
/// that lasts. One entry of each sort represents all others, at any place.
#[test]
fn bounds() {
    let (log, begun) = (WriteLog::default(), Instant::now());
    for _ in 0..2 * KEPT {
        log.record_event(&attempt(WritePath::Open, Policy::Observe, "0x1000..0x2000"));
        log.record_event(&attempt(WritePath::Mmap, Policy::Observe, "0x1000..0x2000"));
    }
    let writes = log.snapshot();
    assert_eq!((writes.over.len(), writes.lasting.len()), (KEPT, KEPT + 1));
    assert_eq!(since(&log, begun, "0x1000..0x2000").len(), 2 * KEPT + 1);
    let elsewhere = |from| since(&log, from, "0x8000..0x9000");
    assert_eq!(elsewhere(begun), [allowed(WritePath::Open), allowed(WritePath::Mmap)]);
    assert_eq!(elsewhere(Instant::now()), [allowed(WritePath::Mmap)]);
}

/// Check that an entry that represents others counts for as long as any of them.
#[test]
fn dropped_entries_keep_their_time() {
    let mut writes = Writes::default();
    let now = Instant::now();
    let mut add = |until| {
        let memory = Some([range("0x1000..0x2000")].into_iter().collect());
        writes.add(Entry { memory, until: Some(until), access: allowed(WritePath::Open) });
    };
    add(now + SHARED);
    (0..KEPT).for_each(|_| add(now));
    let elsewhere = [range("0x8000..0x9000")].into_iter().collect();
    assert_eq!(writes.since(now + SHARED, &elsewhere).count(), 1);
}

/// Check that the end of a gap is recorded once, when the guard is whole again.
#[test]
fn gaps() {
    let log = WriteLog::default();
    let ended = || log.snapshot().gap_ended;
    log.record_self_test(true);
    assert_eq!(ended(), None);
    log.record_self_test(false);
    assert_eq!(ended(), None);
    let before = Instant::now();
    log.record_self_test(true);
    let first = ended();
    assert!(first.is_some_and(|at| at >= before));
    log.record_self_test(true);
    assert_eq!(ended(), first);
}
