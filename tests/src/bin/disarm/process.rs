//! Attacks on the watchdog's process.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use watchdog_tests::errno::checked;

/// Sends a signal by kill(2).
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes only numbers.
    checked(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Sends SIGTERM by pidfd_send_signal(2).
pub(crate) fn pidfd_signal(pid: i32) -> io::Result<()> {
    let process = pidfd(pid)?;
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without a siginfo the kernel makes one.
    checked(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGTERM, none, 0)
    })
    .map(drop)
}

/// Sends SIGKILL to the last thread by tgkill(2).
pub(crate) fn kill_thread(pid: i32) -> io::Result<()> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
    let last =
        threads.flatten().filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok()).max();
    // SAFETY: takes numbers.
    checked(unsafe { libc::syscall(libc::SYS_tgkill, pid, last.unwrap_or(pid), libc::SIGKILL) })
        .map(drop)
}

/// Makes a pipe whose readiness sends SIGKILL. The kernel sends the signal by itself and reports no
/// result. Refused if the watchdog is still there half a second later.
pub(crate) fn file_signal(pid: i32) -> io::Result<()> {
    /// `F_SETSIG` (include/uapi/asm-generic/fcntl.h).
    const F_SETSIG: i32 = 10;
    let (reader, mut writer): (PipeReader, _) = io::pipe()?;
    let before = start_time(pid)?;
    // SAFETY: takes numbers.
    unsafe {
        let reader = reader.as_raw_fd();
        checked(libc::fcntl(reader, libc::F_SETOWN, pid).into())?;
        checked(libc::fcntl(reader, F_SETSIG, libc::SIGKILL).into())?;
        checked(libc::fcntl(reader, libc::F_SETFL, libc::O_ASYNC).into())?;
    }
    io::Write::write_all(&mut writer, b"x")?;
    ends(pid, &before, Duration::from_millis(500))
}

/// Waits for a process with this start time to end. Refused if it is still there after this time.
pub(crate) fn ends(pid: i32, started: &str, patience: Duration) -> io::Result<()> {
    const POLL_INTERVAL: Duration = Duration::from_millis(50);
    let begun = Instant::now();
    while start_time(pid).is_ok_and(|time| time == started) {
        if begun.elapsed() > patience {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Returns the start time of a process: the 22nd field of its `stat`. A zombie has none.
pub(crate) fn start_time(pid: i32) -> io::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind = stat.rsplit_once(") ").map(|(_, behind)| behind).unwrap_or_default();
    let mut fields = behind.split(' ');
    match (fields.next(), fields.nth(18)) {
        (Some(state), Some(time)) if state != "Z" => Ok(time.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

/// Attaches by ptrace(2).
pub(crate) fn trace(pid: i32) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: attaching reads and writes nothing of this process.
    checked(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) }).map(drop)
}

/// Writes the current byte at the beginning of the watchdog's stack, by process_vm_writev(2).
pub(crate) fn write_memory(pid: i32) -> io::Result<()> {
    let mut byte = [0_u8];
    let local = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: stack(pid)? as *mut libc::c_void, iov_len: 1 };
    // SAFETY: the vectors describe one byte of this process and one of the other.
    unsafe {
        checked(libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) as i64)?;
        checked(libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) as i64)
            .map(drop)
    }
}

fn stack(pid: i32) -> io::Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[stack]"));
    let start = line.and_then(|line| line.split('-').next());
    start
        .and_then(|start| u64::from_str_radix(start, 16).ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Opens /proc/PID/mem for writing.
pub(crate) fn proc_mem(pid: i32) -> io::Result<()> {
    OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")).map(drop)
}

/// Opens a counter of page faults that sends SIGTRAP at the first fault.
pub(crate) fn counter(pid: i32) -> io::Result<()> {
    // `struct perf_event_attr` up to `sig_data` (include/uapi/linux/perf_event.h), in words of 8
    // bytes.
    const WORDS: usize = 17;
    const SOFTWARE: u64 = 1;
    const PAGE_FAULTS: u64 = 2;
    const EACH: u64 = 1;
    // `remove_on_exec`, which `sigtrap` requires, and `sigtrap`.
    const SIGNAL: u64 = 1 << 36 | 1 << 37;
    let mut words = [0_u64; WORDS];
    words[..3].copy_from_slice(&[SOFTWARE | (WORDS as u64 * 8) << 32, PAGE_FAULTS, EACH]);
    words[5] = SIGNAL;
    // SAFETY: the kernel reads the words.
    let opened =
        unsafe { libc::syscall(libc::SYS_perf_event_open, words.as_ptr(), pid, -1, -1, 0) };
    let counter = checked(opened)?;
    thread::sleep(Duration::from_secs(2));
    // SAFETY: the descriptor is new and has no other owner.
    drop(unsafe { OwnedFd::from_raw_fd(counter as i32) });
    Ok(())
}

/// Copies a descriptor of another process by pidfd_getfd(2).
pub(crate) fn descriptor(pid: i32, number: i32) -> io::Result<OwnedFd> {
    let process = pidfd(pid)?;
    // SAFETY: takes numbers.
    let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    let taken = checked(taken)?;
    // SAFETY: the descriptor is new and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(taken as i32) })
}

/// Traces a child and lets it execute the watchdog's executable.
pub(crate) fn traced_exec(executable: &Path) -> io::Result<()> {
    let mut command = Command::new(executable);
    command.args(["guard", "status"]);
    // SAFETY: the child makes no other call before it executes.
    unsafe {
        command.pre_exec(|| {
            let none = std::ptr::null_mut::<libc::c_void>();
            checked(libc::ptrace(libc::PTRACE_TRACEME, 0, none, none)).map(drop)
        });
    }
    // The child stops at its first instruction, if it gets that far, and ends with this process.
    command.spawn().map(drop)
}

/// Limits the processor time to zero by prlimit(2).
pub(crate) fn processor_limit(pid: i32) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let none = std::ptr::null_mut();
    // SAFETY: the kernel reads the limit.
    checked(unsafe { libc::prlimit(pid, libc::RLIMIT_CPU, &raw const limit, none) }.into())
        .map(drop)
}

/// Sets the class that runs only when the processor is otherwise idle, by sched_setscheduler(2).
pub(crate) fn idle(pid: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the parameters.
    checked(
        unsafe { libc::sched_setscheduler(pid, libc::SCHED_IDLE, &raw const parameters) }.into(),
    )
    .map(drop)
}

/// Starts the watchdog as a child that shares its root with this process. Once the folder contains
/// `go`, this process makes the folder the root of both, and creates `gone` in it.
pub(crate) fn shared_root(executable: &Path, folder: &Path) -> io::Result<()> {
    let path = CString::new(executable.as_os_str().as_bytes())?;
    let arguments = [path.as_ptr(), c"run".as_ptr(), std::ptr::null()];
    let flags = libc::CLONE_FS | libc::SIGCHLD;
    // SAFETY: as fork(2), since memory is not shared. The child does nothing before it executes.
    let child = checked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if child == 0 {
        // SAFETY: the name and the arguments end with a NUL.
        unsafe {
            libc::execv(path.as_ptr(), arguments.as_ptr());
            libc::_exit(1);
        }
    }
    while !folder.join("go").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    std::os::unix::fs::chroot(folder)?;
    File::create("/gone")?;
    loop {
        thread::park();
    }
}

/// Makes the watchdog's executable this process's /proc/self/exe. The kernel requires that no part
/// of the old executable is mapped, so this code continues in a copy.
pub(crate) fn impostor(executable: &Path) -> io::Result<()> {
    let file = File::open(executable)?;
    copy_away()?;
    let (option, what) = (libc::PR_SET_MM, libc::PR_SET_MM_EXE_FILE);
    // SAFETY: takes numbers.
    checked(unsafe { libc::prctl(option, what, file.as_raw_fd(), 0, 0) }.into()).map(drop)
}

/// Replaces every mapping of this program's file with an anonymous copy. The code continues to run,
/// since each copy replaces its original in one step.
fn copy_away() -> io::Result<()> {
    let own = fs::read_link("/proc/self/exe")?;
    let own = CString::new(own.as_os_str().as_bytes())?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines().filter(|line| line.as_bytes().ends_with(own.as_bytes())) {
        let parsed = line.split_once(' ').and_then(|(range, rest)| {
            let (start, end) = range.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            Some((address(start)?, address(end)?, rest))
        });
        let Some((start, end, rest)) = parsed else { continue };
        let flag = |at: usize, letter: u8, value: i32| {
            if rest.as_bytes().get(at) == Some(&letter) { value } else { 0 }
        };
        let protection = flag(0, b'r', libc::PROT_READ)
            | flag(1, b'w', libc::PROT_WRITE)
            | flag(2, b'x', libc::PROT_EXEC);
        let size = end - start;
        // SAFETY: a new mapping receives the bytes and moves to the address of the originals. Code
        // and data that refer to them see no difference.
        unsafe {
            let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let writable = libc::PROT_READ | libc::PROT_WRITE;
            let copy = libc::mmap(std::ptr::null_mut(), size, writable, anonymous, -1, 0);
            if copy == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            std::ptr::copy_nonoverlapping(start as *const u8, copy.cast::<u8>(), size);
            checked(libc::mprotect(copy, size, protection).into())?;
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            if libc::mremap(copy, size, size, flags, start as *mut libc::c_void) == libc::MAP_FAILED
            {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers.
    let descriptor = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the descriptor is new and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}
