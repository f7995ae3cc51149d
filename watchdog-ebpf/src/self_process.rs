//! Path `self`: acts on the watchdog's process: signals, tracers, limits.
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
//! Process 1 may send signals, because it starts and stops services. No hook sees a signal from the
//! kernel itself, as for Ctrl-C, for a limit or when memory runs out. No hook sees the signals of
//! `cgroup.kill` either, but `file_open` judges that file. The guard outlives its process in any
//! case.
//!
//! Fails open for a task whose fields cannot be read. The probe is signal 0 from the watchdog to
//! itself.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use watchdog_common::self_act;

use crate::access::{Access, earlier};
use crate::arguments::InodeArgument;
use crate::identity::{is_trusted, is_watchdog};
use crate::pointer::Structure;
use crate::self_protection::{INIT, deny_untrusted, is_executable, is_init, register_execution};
use crate::structures::{Execution, Inode, Pid, ProcInode, Task, key_of};

/// `PTRACE_MODE_ATTACH` (include/linux/ptrace.h): more than a read of `/proc`.
const ATTACH: u32 = 2;

/// Judges a signal.
#[lsm(hook = "task_kill")]
pub(crate) fn task_kill(ctx: LsmContext) -> i32 {
    let signal: i32 = ctx.arg(2);
    if let Some(verdict) = earlier(ctx.arg(4)) {
        return verdict;
    }
    if !Task::at(ctx.arg(0)).is_some_and(is_watchdog) || is_init() {
        return 0;
    }
    // With signal 0, journald and many other programs only check whether a process exists.
    if signal == 0 && !is_trusted() {
        return 0;
    }
    deny_untrusted(self_act::SIGNAL, signal == 0)
}

/// Judges a signal about a file. fcntl(2) can direct it at any process.
#[lsm(hook = "file_send_sigiotask")]
pub(crate) fn file_send_sigiotask(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(3)) {
        return verdict;
    }
    if Task::at(ctx.arg(0)).is_some_and(is_watchdog) {
        Access::to_guard(self_act::SIGNAL).deny()
    } else {
        0
    }
}

/// Judges a tracer of a process that runs the watchdog's executable or a leased one. Also judges a
/// tracer of process 1, because process 1 may do what other processes may not.
#[lsm(hook = "ptrace_access_check")]
pub(crate) fn ptrace_access_check(ctx: LsmContext) -> i32 {
    let mode: u32 = ctx.arg(1);
    if let Some(verdict) = earlier(ctx.arg(2)) {
        return verdict;
    }
    if mode & ATTACH == 0 {
        return 0;
    }
    let task = Task::at(ctx.arg(0));
    if task.and_then(Task::tgid) == Some(INIT) {
        return Access::to_guard(self_act::TRACE).deny();
    }
    let file = task.and_then(Task::executable);
    if is_executable(key_of(file)) { Access::to_guard(self_act::TRACE).deny() } else { 0 }
}

/// Judges the execution of such an executable by a process with a tracer.
#[lsm(hook = "bprm_check_security")]
pub(crate) fn bprm_check_security(ctx: LsmContext) -> i32 {
    if let Some(verdict) = earlier(ctx.arg(1)) {
        return verdict;
    }
    if !Task::current().may_be_traced() {
        return 0;
    }
    let file = Execution::at(ctx.arg(0)).and_then(Execution::file);
    if is_executable(key_of(file)) { Access::to_guard(self_act::TRACE).deny() } else { 0 }
}

/// Registers a process that executes the watchdog or the leased executable. The process already has
/// its new address space here (`begin_new_exec()`, fs/exec.c).
#[lsm(hook = "bprm_committing_creds")]
pub(crate) fn bprm_committing_creds(ctx: LsmContext) -> i32 {
    register_execution(Execution::at(ctx.arg(0)).and_then(Execution::file));
    0
}

/// Judges a resource limit, with which the kernel could stop the watchdog.
#[lsm(hook = "task_setrlimit")]
pub(crate) fn task_setrlimit(ctx: LsmContext) -> i32 {
    limit(Task::at(ctx.arg(0)), ctx.arg(3))
}

/// Judges scheduling, which could keep the watchdog from running.
#[lsm(hook = "task_setscheduler")]
pub(crate) fn task_setscheduler(ctx: LsmContext) -> i32 {
    limit(Task::at(ctx.arg(0)), ctx.arg(1))
}

/// Judges a nice value.
#[lsm(hook = "task_setnice")]
pub(crate) fn task_setnice(ctx: LsmContext) -> i32 {
    limit(Task::at(ctx.arg(0)), ctx.arg(2))
}

/// Judges an I/O priority.
#[lsm(hook = "task_setioprio")]
pub(crate) fn task_setioprio(ctx: LsmContext) -> i32 {
    limit(Task::at(ctx.arg(0)), ctx.arg(2))
}

#[inline(always)]
fn limit(task: Option<Task>, verdict: i32) -> i32 {
    if let Some(verdict) = earlier(verdict) {
        return verdict;
    }
    if !task.is_some_and(is_watchdog) || is_init() {
        return 0;
    }
    deny_untrusted(self_act::LIMIT, false)
}

/// Whether an inode of a procfs belongs to the watchdog. Through such a file, a process could
/// select the watchdog for the next out-of-memory kill, or lower its priority.
#[inline(always)]
pub(crate) fn is_its(inode: InodeArgument) -> bool {
    let pid = Inode::at(inode.object()).and_then(Inode::proc_inode).and_then(ProcInode::pid);
    pid.and_then(Pid::task).is_some_and(is_watchdog)
}
