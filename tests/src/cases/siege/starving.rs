//! Attempts to starve the watchdog, and to give its files another mode or owner.

use crate::cases::acts::{Act, act, all_refused};
use crate::cases::disarming::{BASELINES, CONFIGURATION};
use crate::cases::stage::WATCHDOG;
use crate::cases::{List, Start};

pub(in crate::cases) const CASES: List =
    &[("siege: the watchdog starved, and its files made others'", Start::Standard, |it| {
        all_refused(it, "self", &ACTS)
    })];

pub(super) const ACTS: [Act; 10] = [
    act("the last nice value (setpriority(2))", "nice"),
    act("the last priority for disks (ioprio_set(2))", "io-priority"),
    act("the first to be killed when memory runs out (oom_score_adj)", "oom-score"),
    act("the last nice value of its session (autogroup)", "autogroup"),
    act("the executable's mode", "mode").at(WATCHDOG),
    act("the executable's owner", "owner").at(WATCHDOG),
    act("the executable's ACL", "acl").at(WATCHDOG),
    act("an extended attribute of the executable", "attribute").at(WATCHDOG),
    act("the configuration's mode", "mode").at(CONFIGURATION),
    act("the baselines' owner", "owner").at(BASELINES),
];
