//! Path `lockdown`: ports, MSRs, ACPI tables and the like.

use std::io;

use super::attempt_detail;
use super::calls::checked;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// The POST code's port (0x80). Programs write to it to wait.
const PORT: libc::c_ulong = 0x80;

/// Decides about what the kernel's lockdown would refuse. Which path a reason belongs to is in
/// `kernel_enums.rs`.
pub(super) static LOCKED_DOWN: Program =
    Program::new("locked_down", Kind::Lsm, &[("bpf_lsm_locked_down", 1)]);

pub(super) const PATH: GuardPath = GuardPath {
    name: "lockdown",
    means: Means::Refuse,
    standard: Policy::Deny,
    strict: Policy::Deny,
    summary: "ports, MSRs, ACPI tables",
    deed: Some("tried to access hardware directly"),
    target: Target::Memory,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&LOCKED_DOWN],
    detail: attempt_detail::reason,
    test: |context| context.attempt(&use_port),
};

/// Asks for one port, and gives it back.
fn use_port() -> io::Result<()> {
    // SAFETY: changes nothing but which ports this thread may use.
    unsafe {
        checked(libc::syscall(libc::SYS_ioperm, PORT, 1, 1))?;
        checked(libc::syscall(libc::SYS_ioperm, PORT, 1, 0))
    }
}
