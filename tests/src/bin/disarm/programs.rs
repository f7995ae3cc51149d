//! eBPF programs of the attacker, against the guard or beside it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use libsystemd::daemon::{self, NotifyState};

use crate::bpf::code::{EXIT, STACK, add, call, call_kernel, copy, set, shift_right};
use crate::bpf::code::{skip_if, skip_unless, store};
use crate::bpf::{self, A_WHILE, Program, Types, bpf};
use crate::process;

/// Of `enum bpf_prog_type` (include/uapi/linux/bpf.h).
const SOCKET_FILTER: u32 = 1;
const CGROUP_DEVICE: u32 = 15;
const RAW_TRACEPOINT: u32 = 17;
const CGROUP_SYSCTL: u32 = 23;
pub(crate) const TRACING: u32 = 26;
const STRUCT_OPS: u32 = 27;
const EXTENSION: u32 = 28;
const LSM: u32 = 29;
/// Of `enum bpf_attach_type`.
const AT_DEVICES: u32 = 6;
const AT_SYSCTL: u32 = 18;
const TRACE_FENTRY: u32 = 24;
const MODIFY_RETURN: u32 = 26;
const LSM_MAC: u32 = 27;
pub(crate) const TRACE_ITER: u32 = 28;
const LSM_CGROUP: u32 = 43;
/// `BPF_F_ALLOW_MULTI`.
const ALLOW_MULTI: u32 = 2;
/// Of `enum bpf_func_id`: `bpf_get_current_pid_tgid` and others.
const GET_CURRENT_PID_TGID: i32 = 14;
const PROBE_WRITE_USER: i32 = 36;
const SEND_SIGNAL: i32 = 109;
const SET_RETVAL: i32 = 187;
/// `PIDTYPE_TGID` (include/linux/pid_types.h).
const TO_PROCESS: i32 = 1;

const ROOT_CGROUP: &str = "/sys/fs/cgroup";
const SETTING: &str = "/proc/sys/kernel/ftrace_enabled";
/// How long a program stays attached if its presence is all that matters.
const A_MOMENT: Duration = Duration::from_secs(1);
/// Maximum time until a process makes its next system call.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the hook's function return a positive number for this process, so that the guard's
/// program, which runs after it, is not called. Then opens a pinned table.
pub(crate) fn answer_for_hook(file: &Path) -> io::Result<()> {
    let target = Types::of_this_kernel()?.function("security_bpf_map")?;
    let code = verdict_about(own_process(), 1);
    let program = Program { kind: TRACING, attach: MODIFY_RETURN, target, code: &code }.load()?;
    let _link = bpf::link(&program, None)?;
    bpf::pinned(file).map(drop)
}

/// Does the same for every process except one, and stays for three minutes.
pub(crate) fn answer_others(pid: i32) -> io::Result<()> {
    let target = Types::of_this_kernel()?.function("security_bpf_map")?;
    let code = [
        call(GET_CURRENT_PID_TGID),
        shift_right(0, 32),
        skip_if(0, pid, 2),
        set(0, 1),
        EXIT,
        set(0, 0),
        EXIT,
    ];
    let program = Program { kind: TRACING, attach: MODIFY_RETURN, target, code: &code }.load()?;
    let _link = bpf::link(&program, None)?;
    thread::sleep(A_WHILE);
    Ok(())
}

/// Attaches an LSM program that allows everything to this hook. Process 1 keeps a descriptor of its
/// link.
pub(crate) fn store_program(hook: &str) -> io::Result<()> {
    let target = Types::of_this_kernel()?.function(hook)?;
    let code = [set(0, 0), EXIT];
    let program = Program { kind: LSM, attach: LSM_MAC, target, code: &code }.load()?;
    let link = bpf::link(&program, None)?;
    let words = [NotifyState::Fdstore, NotifyState::Ready];
    daemon::notify_with_fds(false, &words, &[link.as_raw_fd()]).map_err(io::Error::other)?;
    drop((link, program));
    thread::sleep(A_WHILE);
    Ok(())
}

/// Does the same as [`answer_for_hook`] by an LSM program that runs before the attached ones.
/// Kernels from 6.12 on do not load a program that returns 1: there, attaching one that returns 0
/// is the success.
pub(crate) fn lsm_program(file: &Path) -> io::Result<()> {
    let target = Types::of_this_kernel()?.function("bpf_lsm_bpf_map")?;
    let with = |verdict| {
        let code = verdict_about(own_process(), verdict);
        Program { kind: LSM, attach: LSM_MAC, target, code: &code }.load()
    };
    match with(1) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            bpf::link(&with(0)?, None).map(drop)
        }
        program => {
            let _link = bpf::link(&program?, None)?;
            bpf::pinned(file).map(drop)
        }
    }
}

/// Does the same by an LSM program of the root cgroup. If the kernel refuses a program that returns
/// 1 (7.2), it attaches one that sets no result: attaching it is the success.
pub(crate) fn lsm_cgroup(file: &Path) -> io::Result<()> {
    let target = Types::of_this_kernel()?.function("bpf_lsm_bpf_map")?;
    let with = |code: &[u64]| Program { kind: LSM, attach: LSM_CGROUP, target, code }.load();
    match with(&[set(1, 1), call(SET_RETVAL), set(0, 1), EXIT]) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            attached(ROOT_CGROUP, &with(&[set(0, 1), EXIT])?, LSM_CGROUP, || Ok(()))
        }
        program => attached(ROOT_CGROUP, &program?, LSM_CGROUP, || bpf::pinned(file).map(drop)),
    }
}

/// Drops what a process sends. The process gets no error.
pub(crate) fn swallow(pid: i32) -> io::Result<()> {
    let target = Types::of_this_kernel()?.function("security_socket_sendmsg")?;
    let code = verdict_about(pid, 1);
    let program = Program { kind: TRACING, attach: MODIFY_RETURN, target, code: &code }.load()?;
    let _link = bpf::link(&program, None)?;
    thread::sleep(A_MOMENT);
    Ok(())
}

/// Makes the kernel forget that an earlier program refused a setting. Switches the guard's programs
/// off by that setting, and on again afterwards.
pub(crate) fn set_retval() -> io::Result<()> {
    let code = [set(1, 0), call(SET_RETVAL), set(0, 1), EXIT];
    let program =
        Program { kind: CGROUP_SYSCTL, attach: AT_SYSCTL, target: 0, code: &code }.load()?;
    attached(ROOT_CGROUP, &program, AT_SYSCTL, || {
        fs::write(SETTING, "0")?;
        let is_off = fs::read_to_string(SETTING)?.trim() == "0";
        fs::write(SETTING, "1")?;
        if is_off { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
    })
}

/// Loads a program that could write other processes' memory. It is not attached.
pub(crate) fn write_user() -> io::Result<()> {
    let code = [
        store(STACK, -8, 0),
        set(1, 0),
        copy(2, STACK),
        add(2, -8),
        set(3, 8),
        call(PROBE_WRITE_USER),
        set(0, 0),
        EXIT,
    ];
    Program { kind: RAW_TRACEPOINT, attach: 0, target: 0, code: &code }.load().map(drop)
}

/// Makes a process send SIGKILL to itself at its next system call.
pub(crate) fn send_signal(pid: i32) -> io::Result<()> {
    let code = [
        call(GET_CURRENT_PID_TGID),
        shift_right(0, 32),
        skip_unless(0, pid, 2),
        set(1, libc::SIGKILL),
        call(SEND_SIGNAL),
        set(0, 0),
        EXIT,
    ];
    let before = process::start_time(pid)?;
    let program = Program { kind: RAW_TRACEPOINT, attach: 0, target: 0, code: &code }.load()?;
    let _link = bpf::link(&program, Some(c"sys_enter"))?;
    process::ends(pid, &before, END_TIMEOUT)
}

/// Sends SIGKILL by a kernel function that takes any process (6.13 and later).
pub(crate) fn send_signal_task(pid: i32) -> io::Result<()> {
    let types = Types::of_this_kernel()?;
    let code = [
        set(1, pid),
        call_kernel(types.function("bpf_task_from_pid")?),
        skip_if(0, 0, 8),
        copy(6, 0),
        copy(1, 0),
        set(2, libc::SIGKILL),
        set(3, TO_PROCESS),
        set(4, 0),
        call_kernel(types.function("bpf_send_signal_task")?),
        copy(1, 6),
        call_kernel(types.function("bpf_task_release")?),
        set(0, 0),
        EXIT,
    ];
    let before = process::start_time(pid)?;
    // The kernel calls this function when it runs a test of a program of this type.
    let target = types.function("bpf_fentry_test1")?;
    let program = Program { kind: TRACING, attach: TRACE_FENTRY, target, code: &code }.load()?;
    let _link = bpf::link(&program, None)?;
    bpf(bpf::PROG_TEST_RUN, &[program.as_raw_fd().cast_unsigned(); 1])?;
    process::ends(pid, &before, END_TIMEOUT)
}

/// Tries to load a program that replaces a function of another one. It names no other program, so
/// the kernel itself refuses it.
pub(crate) fn extension() -> io::Result<()> {
    let code = [set(0, 0), EXIT];
    Program { kind: EXTENSION, attach: 0, target: 0, code: &code }.load().map(drop)
}

/// Loads the first function of a scheduler.
pub(crate) fn scheduler(operations: &str) -> io::Result<()> {
    let target = Types::of_this_kernel()?.structure(operations)?;
    let code = [set(0, 0), EXIT];
    Program { kind: STRUCT_OPS, attach: 0, target, code: &code }.load().map(drop)
}

/// Attaches a program to a function that has nothing to do with the guard.
pub(crate) fn tracing() -> io::Result<()> {
    let target = Types::of_this_kernel()?.function("vfs_fsync_range")?;
    let code = [set(0, 0), EXIT];
    let program = Program { kind: TRACING, attach: TRACE_FENTRY, target, code: &code }.load()?;
    bpf::link(&program, None).map(drop)
}

/// Attaches a program that allows every device to a new control group, as systemd does for
/// services.
pub(crate) fn cgroup_device() -> io::Result<()> {
    let code = [set(0, 1), EXIT];
    let program =
        Program { kind: CGROUP_DEVICE, attach: AT_DEVICES, target: 0, code: &code }.load()?;
    let group = format!("{ROOT_CGROUP}/siege");
    fs::create_dir(&group)?;
    let result = attached(&group, &program, AT_DEVICES, || Ok(()));
    fs::remove_dir(&group)?;
    result
}

/// Loads a program that drops every packet of its socket. No socket uses it.
pub(crate) fn socket_filter() -> io::Result<()> {
    let code = [set(0, 0), EXIT];
    Program { kind: SOCKET_FILTER, attach: 0, target: 0, code: &code }.load().map(drop)
}

/// Builds a program that returns `verdict` for one process and 0 for all others.
fn verdict_about(pid: i32, verdict: i32) -> [u64; 7] {
    [
        call(GET_CURRENT_PID_TGID),
        shift_right(0, 32),
        skip_unless(0, pid, 2),
        set(0, verdict),
        EXIT,
        set(0, 0),
        EXIT,
    ]
}

fn own_process() -> i32 {
    std::process::id().cast_signed()
}

/// Calls `act` while a program is attached to a control group.
fn attached(
    group: &str,
    program: &OwnedFd,
    at: u32,
    act: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let group = File::open(group)?;
    let [group, program] = [group.as_raw_fd(), program.as_raw_fd()].map(i32::cast_unsigned);
    bpf(bpf::PROG_ATTACH, &[group, program, at, ALLOW_MULTI, 0])?;
    let result = act();
    bpf(bpf::PROG_DETACH, &[group, program, at, 0, 0])?;
    result
}
