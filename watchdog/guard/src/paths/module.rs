//! Path `module`: a process loads a module.

use std::io;

use super::attempt_detail;
use super::calls::checked;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use crate::policy::Policy;
use crate::program::{Kind, Program};

/// Bytes that are not a module, as many as the kernel reads before the hook (kernel/module/main.c).
const NO_MODULE: [u8; 64] = [0; 64];

/// Judges files that the kernel reads for itself.
pub(super) static KERNEL_READ_FILE: Program =
    Program::new("kernel_read_file", Kind::Lsm, &[("bpf_lsm_kernel_read_file", 3)]);

/// Judges data that the kernel loads from a process's memory.
pub(super) static KERNEL_LOAD_DATA: Program =
    Program::new("kernel_load_data", Kind::Lsm, &[("bpf_lsm_kernel_load_data", 2)]);

pub(super) const PATH: GuardPath = GuardPath {
    name: "module",
    means: Means::Refuse,
    standard: Policy::Off,
    strict: Policy::Deny,
    summary: "load any module",
    deed: Some("tried to load a kernel module"),
    target: Target::Memory,
    leaves: Leaves::Nothing,
    without_lsm: WithoutLsm::Lost,
    programs: &[&KERNEL_READ_FILE, &KERNEL_LOAD_DATA],
    detail: attempt_detail::none,
    test: |context| context.attempt(&load),
};

/// Tries to load bytes that are not a module.
fn load() -> io::Result<()> {
    let (image, bytes) = (NO_MODULE.as_ptr(), NO_MODULE.len());
    // SAFETY: the kernel copies the bytes and the empty parameters.
    checked(unsafe { libc::syscall(libc::SYS_init_module, image, bytes, c"".as_ptr()) })
}
