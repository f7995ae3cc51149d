//! Path `write`: a process writes to `/dev/mem` by a system call, aio or io_uring.

use super::attempt_detail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::canary::Canary;
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// Saves the file position, which the hook does not get.
static WRITE_POSITION: Program =
    Program::new("write_position", Kind::Entry, &[("rw_verify_area", 4)]).saves();

/// Judges reads and writes of open files.
pub(super) static FILE_PERMISSION: Program =
    Program::new("file_permission", Kind::Lsm, &[("bpf_lsm_file_permission", 2)]);

pub(super) const PATH: GuardPath = GuardPath {
    name: "write",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "write(2) and variants, aio, io_uring",
    deed: None,
    target: Target::Memory,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&WRITE_POSITION, &FILE_PERMISSION],
    detail: attempt_detail::none,
    test: |context| context.attempt_on_canary(Canary::try_write),
};
