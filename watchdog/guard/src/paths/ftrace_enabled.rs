//! Path `ftrace-enabled`: a process writes `kernel.ftrace_enabled`, which switches the guard off.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::policy::Policy;
use crate::program::{Kind, Program};

const SETTING: &str = "/proc/sys/kernel/ftrace_enabled";

/// This program does not need ftrace.
static SYSCTL: Program = Program::new("sysctl", Kind::Sysctl, &[]);

pub(super) const PATH: GuardPath = GuardPath {
    name: "ftrace-enabled",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "set kernel.ftrace_enabled",
    deed: Some("tried to set kernel.ftrace_enabled, which switches the guard off"),
    target: Target::Guard,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Kept,
    programs: &[&SYSCTL],
    detail: attempt_detail::none,
    test: |context| context.attempt(&set),
};

/// Writes the current value again.
fn set() -> io::Result<()> {
    let now = fs::read(SETTING)?;
    OpenOptions::new().write(true).open(SETTING)?.write_all(&now)
}
