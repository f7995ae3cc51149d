//! Path `self`: the watchdog's process: signals, tracers, limits.
//!
//! match-proto: `int bpf_lsm_task_kill(struct task_struct *, struct kernel_siginfo *, int, const
//! struct cred *)`, `int bpf_lsm_file_send_sigiotask(struct task_struct *, struct fown_struct *,
//! int)`, `int bpf_lsm_ptrace_access_check(struct task_struct *, unsigned int)`, `int
//! bpf_lsm_task_setrlimit(struct task_struct *, unsigned int, struct rlimit *)`, `int
//! bpf_lsm_task_setscheduler(struct task_struct *)`, `int bpf_lsm_task_setnice(struct task_struct
//! *, int)`, `int bpf_lsm_task_setioprio(struct task_struct *, int)`, `int
//! bpf_lsm_bprm_check_security(struct linux_binprm *)`, `void bpf_lsm_bprm_committing_creds(const
//! struct linux_binprm *)` (6.1 to 7.2). Needs `bpf` among the active LSMs.
//!
//! Process 1 may send signals: it starts and stops services. What the kernel sends by itself, as
//! for Ctrl-C, for a limit or when memory runs out, asks no hook; nor does `cgroup.kill`, whose
//! file is judged in `file_open`. The guard outlives its process in any case.
//!
//! Fails open for a task whose fields cannot be read; signal 0 to itself is the watchdog's probe.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::self_act;

use crate::identity::is_trusted;
use crate::kernel::{Object, current_task, field, file_key, offset};
use crate::self_protection::{deny_untrusted, is_executable, is_init, register_execution};
use crate::{access, rules};

/// The process that starts and stops services.
const INIT: u32 = 1;
/// `PTRACE_MODE_ATTACH` (include/linux/ptrace.h): more than a look at /proc.
const ATTACH: u32 = 2;

/// Judges a signal.
#[lsm(hook = "task_kill")]
pub(crate) fn task_kill(ctx: LsmContext) -> i32 {
    let signal: i32 = ctx.arg(2);
    if let Some(verdict) = access::earlier(ctx.arg(4)) {
        return verdict;
    }
    if !is_watchdog(ctx.arg(0)) || is_init() {
        return 0;
    }
    // By signal 0 journald and many others only ask whether a process is there.
    if signal == 0 && !is_trusted() {
        return 0;
    }
    deny_untrusted(self_act::SIGNAL, signal == 0)
}

/// Judges a signal about a file, which fcntl(2) can direct at anyone.
#[lsm(hook = "file_send_sigiotask")]
pub(crate) fn file_send_sigiotask(ctx: LsmContext) -> i32 {
    if let Some(verdict) = access::earlier(ctx.arg(3)) {
        return verdict;
    }
    if is_watchdog(ctx.arg(0)) { access::deny_self_act(self_act::SIGNAL) } else { 0 }
}

/// Judges a tracer of any process that runs the watchdog's executable, or a leased one; and of
/// process 1, which may do what others may not.
#[lsm(hook = "ptrace_access_check")]
pub(crate) fn ptrace_access_check(ctx: LsmContext) -> i32 {
    let mode: u32 = ctx.arg(1);
    if let Some(verdict) = access::earlier(ctx.arg(2)) {
        return verdict;
    }
    if mode & ATTACH == 0 {
        return 0;
    }
    if field(ctx.arg(0), offset!(task_tgid)) == Some(INIT) {
        return access::deny_self_act(self_act::TRACE);
    }
    let mm = field::<Object>(ctx.arg(0), offset!(task_mm)).unwrap_or(core::ptr::null());
    let file = field::<Object>(mm, offset!(mm_exe_file)).unwrap_or(core::ptr::null());
    if is_executable(file_key(file)) { access::deny_self_act(self_act::TRACE) } else { 0 }
}

/// Judges who executes one of these while somebody traces him.
#[lsm(hook = "bprm_check_security")]
pub(crate) fn bprm_check_security(ctx: LsmContext) -> i32 {
    if let Some(verdict) = access::earlier(ctx.arg(1)) {
        return verdict;
    }
    if field(current_task(), offset!(task_ptrace)) == Some(0_u32) {
        return 0;
    }
    let file = field::<Object>(ctx.arg(0), offset!(binprm_file)).unwrap_or(core::ptr::null());
    if is_executable(file_key(file)) { access::deny_self_act(self_act::TRACE) } else { 0 }
}

/// Takes note of who executes the watchdog or what is leased. The address space is the new one by
/// now (`begin_new_exec()`, fs/exec.c).
#[lsm(hook = "bprm_committing_creds")]
pub(crate) fn bprm_committing_creds(ctx: LsmContext) -> i32 {
    register_execution(field(ctx.arg(0), offset!(binprm_file)).unwrap_or(core::ptr::null()));
    0
}

/// Judges a limit, which would have the kernel stop the watchdog.
#[lsm(hook = "task_setrlimit")]
pub(crate) fn task_setrlimit(ctx: LsmContext) -> i32 {
    limit(ctx.arg(0), ctx.arg(3))
}

/// Judges scheduling, which would have the watchdog wait for ever.
#[lsm(hook = "task_setscheduler")]
pub(crate) fn task_setscheduler(ctx: LsmContext) -> i32 {
    limit(ctx.arg(0), ctx.arg(1))
}

/// Judges a nice value.
#[lsm(hook = "task_setnice")]
pub(crate) fn task_setnice(ctx: LsmContext) -> i32 {
    limit(ctx.arg(0), ctx.arg(2))
}

/// Judges the order in which a disk serves it.
#[lsm(hook = "task_setioprio")]
pub(crate) fn task_setioprio(ctx: LsmContext) -> i32 {
    limit(ctx.arg(0), ctx.arg(2))
}

#[inline(always)]
fn limit(task: Object, earlier: i32) -> i32 {
    if let Some(verdict) = access::earlier(earlier) {
        return verdict;
    }
    if !is_watchdog(task) || is_init() {
        return 0;
    }
    deny_untrusted(self_act::LIMIT, false)
}

/// The memory of the current process, a `struct mm_struct`.
#[inline(always)]
pub(crate) fn memory() -> Object {
    field(current_task(), offset!(task_mm)).unwrap_or(core::ptr::null())
}

/// Whether a task is one of the watchdog's threads.
#[inline(always)]
pub(crate) fn is_watchdog(task: Object) -> bool {
    field(task, offset!(task_tgid)) == Some(rules::watchdog())
}

/// Whether an inode of a procfs is one of the watchdog's own files there, by which it is made a
/// victim of the next shortage of memory, or put behind all others: `struct proc_inode` is around
/// it (`PROC_I()`, fs/proc/internal.h), and leads to the task. Files of no process have no task.
#[inline(always)]
pub(crate) fn is_its(inode: Object) -> bool {
    let whole: Object = inode.wrapping_byte_sub(offset!(proc_inode) as usize);
    let pid = field::<Object>(whole, offset!(proc_pid)).unwrap_or(core::ptr::null());
    let link = field::<Object>(pid, offset!(pid_tasks)).unwrap_or(core::ptr::null());
    !link.is_null() && is_watchdog(link.wrapping_byte_sub(offset!(task_pid_links) as usize))
}
