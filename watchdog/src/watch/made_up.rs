//! Made-up events of the guard, for tests.

use super::attribution::WriteLog;
use watchdog_core::memory::PhysRange;
use watchdog_guard::{Attacker, GuardEvent, Policy, WriteAttempt, WritePath};

/// No other number in a write log has these digits.
const PID: u32 = 481_516;

/// An attempt on path `mmap` that the guard handled with `action`.
pub(super) fn attempt(action: Policy) -> GuardEvent {
    let range = "0x1000..0x2000".parse().expect("a range");
    GuardEvent::Attempt(write_attempt(PID, WritePath::Mmap, action, range))
}

/// An attempt of process `pid` (`dd`) on physical `range`, which the guard handled with `action`.
pub(super) fn write_attempt(
    pid: u32,
    path: WritePath,
    action: Policy,
    range: PhysRange,
) -> WriteAttempt {
    WriteAttempt {
        path,
        action,
        detail: None,
        range: Some(range),
        process: Attacker {
            pid,
            tid: pid,
            uid: 0,
            comm: b"dd".to_vec(),
            exe: None,
            cgroup: None,
            parent: 1,
            parent_comm: b"sh".to_vec(),
        },
    }
}

/// Whether a write log has an entry for such an attempt.
pub(super) fn is_recorded(write_log: &WriteLog) -> bool {
    format!("{write_log:?}").contains(&PID.to_string())
}
