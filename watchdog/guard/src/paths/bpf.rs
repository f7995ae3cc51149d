//! Path `bpf`: BPF programs that can override the guard, or act on the watchdog.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::self_protection::BPF_PROG;
use super::test_context::TestContext;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::program::{Kind, Program};
use crate::{bpf, foreign};

/// `BPF_PROG_TYPE_LSM`, `BPF_LSM_MAC` (include/uapi/linux/bpf.h).
const PROGRAM_LSM: u32 = 29;
const ATTACH_LSM: u32 = 27;

/// Lists the programs that were loaded before the guard.
static FOREIGN_PROGRAMS: Program =
    Program::new(foreign::PROGRAM, Kind::Listing("bpf_prog"), &[("bpf_loop", 5)]);

/// Judges calls of bpf(2).
pub(super) static BPF: Program =
    Program::new("bpf", Kind::Lsm, &[("bpf_lsm_bpf", 3), ("bpf_lsm_bpf", 4)]).late();

pub(super) const PATH: GuardPath = GuardPath {
    name: "bpf",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "BPF programs that override the guard",
    deed: Some("tried to load or attach a BPF program that can override the guard"),
    target: Target::Guard,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&FOREIGN_PROGRAMS, &BPF_PROG, &BPF],
    // A reason of the kernel's lockdown also belongs to this path.
    detail: |detail| match foreign::word(detail.number) {
        Some(word) => Some(word.to_owned()),
        None => attempt_detail::reason(detail),
    },
    test,
};

/// Tests that the guard refuses a new program, and that no such program was loaded before the
/// guard.
fn test(context: &dyn TestContext) -> Outcome {
    let refused = context.attempt(&|| bpf::load_nothing(PROGRAM_LSM, ATTACH_LSM));
    if refused != Outcome::Seen {
        return refused;
    }
    let foreign = context.foreign();
    match foreign.programs() {
        Err(error) => {
            Outcome::Missing(format!("the loaded BPF programs cannot be listed: {error}"))
        }
        Ok(all) if !all.is_empty() => Outcome::Missing(format!(
            "{}; it was loaded before the guard: remove it (bpftool prog show names it)",
            all.join(", ")
        )),
        Ok(_) if !foreign.knows_helpers => {
            Outcome::SeenBy("program types alone: /proc/kallsyms shows no addresses of helpers")
        }
        Ok(_) => Outcome::Seen,
    }
}
