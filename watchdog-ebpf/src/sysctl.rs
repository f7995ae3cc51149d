//! Path `ftrace-enabled`: `kernel.ftrace_enabled=0` replaces programs at functions and at LSM hooks
//! by NOPs, without detaching them. The program that denies it must not depend on ftrace itself.
//!
//! A cgroup program on the root cgroup (`__cgroup_bpf_run_filter_sysctl()`, kernel/bpf/cgroup.c,
//! 6.1 to 7.2): every process is in it.
//!
//! It may not send signals. Fails open if the name cannot be read. The self-test within the next
//! period is the second line of defence.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_sysctl_get_name;
use aya_ebpf::macros::cgroup_sysctl;
use aya_ebpf::programs::SysctlContext;
use watchdog_common::path;

use crate::access::Access;

/// The path of the setting below `/proc/sys`, with its NUL.
const NAME: &[u8; 22] = b"kernel/ftrace_enabled\0";
const ALLOWED: i32 = 1;
const DENIED: i32 = 0;

/// Judges access to a setting.
#[cgroup_sysctl]
pub(crate) fn sysctl(ctx: SysctlContext) -> i32 {
    // SAFETY: the kernel's own context, valid as long as the program runs.
    if unsafe { (*ctx.sysctl).write } == 0 {
        return ALLOWED;
    }
    let mut name = [0_u8; 32];
    // SAFETY: the helper writes at most as many bytes as the buffer has.
    let length = unsafe {
        bpf_sysctl_get_name(ctx.as_ptr().cast(), name.as_mut_ptr().cast(), name.len() as u64, 0)
    };
    let mut is_it = length == NAME.len() as i64 - 1;
    let mut n = 0;
    while n < NAME.len() {
        is_it &= name[n] == NAME[n];
        n += 1;
    }
    if !is_it {
        return ALLOWED;
    }
    if Access::to_resource(path::FTRACE, 0).only_deny() == 0 { ALLOWED } else { DENIED }
}
