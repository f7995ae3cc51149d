//! Path `bpf-tracing`: BPF programs that trace the kernel.

use super::bpf::BPF;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::self_protection::BPF_PROG;
use crate::policy::Policy;
use crate::{bpf, foreign};

/// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_FENTRY` (include/uapi/linux/bpf.h).
const PROGRAM_TRACING: u32 = 26;
const ATTACH_FENTRY: u32 = 24;

pub(super) const PATH: GuardPath = GuardPath {
    name: "bpf-tracing",
    means: Means::Refuse,
    standard: Policy::Off,
    strict: Policy::Deny,
    summary: "BPF programs that trace the kernel",
    deed: Some("tried to load a BPF program that traces the kernel"),
    target: Target::Guard,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&BPF_PROG, &BPF],
    detail: |detail| foreign::word(detail.number).map(str::to_owned),
    test: |context| context.attempt(&|| bpf::load_nothing(PROGRAM_TRACING, ATTACH_FENTRY)),
};
