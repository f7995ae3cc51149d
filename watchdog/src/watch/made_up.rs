//! Made-up events of the guard, for tests.

use super::attribution::WriteLog;
use watchdog_guard::{Attacker, GuardEvent, Policy, WriteAttempt, WritePath};

/// No other number in a write log has these digits.
const PID: u32 = 481_516;

/// An attempt on path `mmap` that the guard handled with `action`.
pub(super) fn attempt(action: Policy) -> GuardEvent {
    GuardEvent::Attempt(WriteAttempt {
        path: WritePath::Mmap,
        action,
        detail: None,
        range: "0x1000..0x2000".parse().ok(),
        process: Attacker {
            pid: PID,
            tid: PID,
            uid: 0,
            comm: b"dd".to_vec(),
            exe: None,
            cgroup: None,
            parent: 1,
            parent_comm: b"sh".to_vec(),
        },
    })
}

/// Whether a write log has an entry for such an attempt.
pub(super) fn is_recorded(write_log: &WriteLog) -> bool {
    format!("{write_log:?}").contains(&PID.to_string())
}
