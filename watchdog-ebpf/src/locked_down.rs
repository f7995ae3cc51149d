//! Paths `pci`, `module-parameters`, `kexec` and `lockdown`. The kernel calls this hook before it
//! allows a way around its own protection. `enum lockdown_reason` names that way
//! (include/linux/security.h).
//!
//! match-proto: `int bpf_lsm_locked_down(enum lockdown_reason)` (6.1 to 7.2). Needs `bpf` among the
//! active LSMs. The values differ between kernels: the loader looks their names up in BTF.
//!
//! Only reasons in the loader's table are judged. A denial of all reasons would also stop BPF, and
//! reads of `/dev/mem`, which the watchdog needs.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;

use crate::access::{Access, earlier};
use crate::rules::{self, Table};

/// Judges a reason.
#[lsm(hook = "locked_down")]
pub(crate) fn locked_down(ctx: LsmContext) -> i32 {
    let reason: u32 = ctx.arg(0);
    if let Some(verdict) = earlier(ctx.arg(1)) {
        return verdict;
    }
    match rules::entry(Table::Lockdown, reason) {
        Some(path) => Access::to_resource(path, reason).deny(),
        None => 0,
    }
}
