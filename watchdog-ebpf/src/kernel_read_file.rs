//! Paths `module` and `kexec`: finit_module(2) and kexec_file_load(2) let the kernel read a file.
//!
//! match-proto: `int bpf_lsm_kernel_read_file(struct file *, enum kernel_read_file_id, bool)`
//! (6.1 to 7.2). Needs `bpf` among the active LSMs.
//!
//! A kind of file that is not in the loader's table, such as firmware, is allowed.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use crate::access::{Access, earlier};
use crate::rules::{self, Table};

/// Judges a file that the kernel is about to read.
#[lsm(hook = "kernel_read_file")]
pub(crate) fn kernel_read_file(ctx: LsmContext) -> i32 {
    let kind: u32 = ctx.arg(1);
    if let Some(verdict) = earlier(ctx.arg(3)) {
        return verdict;
    }
    match rules::entry(Table::ReadFile, kind) {
        Some(path) => Access::to_resource(path, 0).deny(),
        None => 0,
    }
}
