//! Path `lockdown`: a process uses ports, MSRs, ACPI tables or similar hardware access.

use std::io;

use super::attempt_detail;
use super::calls::checked;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// The port of the POST code (0x80). Programs write to it for a short delay.
const PORT: libc::c_ulong = 0x80;

/// Judges what the kernel's lockdown would refuse. `kernel_enums.rs` has the path of each lockdown
/// reason.
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

/// Requests access to one port, and returns it.
fn use_port() -> io::Result<()> {
    // SAFETY: the calls only change which ports this thread may use.
    unsafe {
        checked(libc::syscall(libc::SYS_ioperm, PORT, 1, 1))?;
        checked(libc::syscall(libc::SYS_ioperm, PORT, 1, 0))
    }
}
