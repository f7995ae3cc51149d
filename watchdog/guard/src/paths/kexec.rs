//! Path `kexec`: any kexec, and hibernation.

use std::io;

use super::attempt_detail;
use super::calls::checked;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::lockdown::LOCKED_DOWN;
use super::module::{KERNEL_LOAD_DATA, KERNEL_READ_FILE};
use crate::policy::Policy;

/// A flag that kexec_load(2) does not have. The kernel refuses it only after the hook
/// (`kexec_load_check()`, kernel/kexec.c).
const NO_FLAGS: libc::c_ulong = 0x4000;

pub(super) const PATH: GuardPath = GuardPath {
    name: "kexec",
    means: Means::Refuse,
    standard: Policy::Off,
    strict: Policy::Deny,
    summary: "any kexec, hibernation",
    deed: Some("tried to load a kexec image or to hibernate"),
    target: Target::Memory,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&LOCKED_DOWN, &KERNEL_READ_FILE, &KERNEL_LOAD_DATA],
    detail: attempt_detail::reason,
    test: |context| context.attempt(&|| load_segments(&[])),
};

/// Tries kexec_load(2) with these segments.
pub(super) fn load_segments(segments: &[[u64; 4]]) -> io::Result<()> {
    let (count, first) = (segments.len(), segments.as_ptr());
    // SAFETY: the kernel reads `count` segments, and refuses the flag.
    checked(unsafe { libc::syscall(libc::SYS_kexec_load, 0_u64, count, first, NO_FLAGS) })
}
