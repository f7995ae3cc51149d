//! `disarm`: tries to switch off the guard or its watchdog, in one way per run. Prints one JSON
//! line with the result.
//!
//! Exit status: 0 the act succeeded, 1 the kernel refused it, 2 it could not be tried. The first
//! line of standard error has the process id, because a process that is killed for the act prints
//! nothing more.

mod bpf;
mod files;
mod journal;
mod mounts;
mod objects;
mod process;
mod processors;
mod programs;
mod starving;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use watchdog_tests::errno;

/// One attempt.
#[derive(Parser)]
struct Arguments {
    /// How.
    #[arg(long, value_enum)]
    by: By,
    /// The watchdog's process.
    #[arg(long, default_value_t = 0)]
    pid: i32,
    /// The file that is reached for.
    #[arg(long, default_value = "/sys/fs/bpf/watchdog")]
    file: PathBuf,
    /// The watchdog's executable.
    #[arg(long, default_value = "/usr/bin/watchdog")]
    executable: PathBuf,
}

/// Ways to disarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// kill(2) with SIGKILL.
    Kill,
    /// kill(2) with SIGSTOP.
    Stop,
    /// SIGTERM by pidfd_send_signal(2).
    Pidfd,
    /// SIGKILL to one thread.
    Thread,
    /// SIGKILL as the signal of a file that is ready.
    FileSignal,
    /// ptrace(2).
    Trace,
    /// process_vm_writev(2).
    WriteMemory,
    /// /proc/PID/mem.
    ProcMem,
    /// perf_event_open(2) of a counter that sends its process SIGTRAP.
    Counter,
    /// A descriptor of the watchdog, by pidfd_getfd(2).
    StealDescriptor,
    /// The watchdog's executable, traced from its first instruction.
    TracedExec,
    /// A limit of processor time.
    ProcessorLimit,
    /// The scheduling class of idle processes.
    Idle,
    /// Passing itself off as the watchdog, then a table of the guard.
    Impostor,
    /// bpf(2), a pinned table (`--file`).
    PinnedTable,
    /// bpf(2), every table by its id: one that the guard calls its own.
    TableById,
    /// bpf(2), every program by its id, and off the root cgroup with it.
    DetachProgram,
    /// bpf(2), every link by its id, and detached.
    DetachLink,
    /// unlink(2) of `--file`.
    Unlink,
    /// rename(2) of `--file`.
    Rename,
    /// rename(2) of another file over `--file`.
    Replace,
    /// A folder beside `--file`.
    MakeFolder,
    /// A file, symbolic link or other name in the folder `--file`.
    MakeFile,
    /// Opening `--file` for writing.
    Write,
    /// truncate(2) of `--file`.
    Truncate,
    /// Unmounting `--file`, at once or after its last use.
    Unmount,
    /// A program that changes what the hook of tables returns, then a pinned table (`--file`).
    FmodRet,
    /// The same for everybody but `--pid`, for two minutes.
    AnswerOthers,
    /// The watchdog begun so that it shares its root with this process, which takes another one
    /// (`--file`) once there is `go` in that.
    SharedRoot,
    /// journald's socket bound by another process, which prints what is sent there.
    TakeJournal,
    /// A filter at journald's socket, which drops all (`--pid`).
    FilterJournal,
    /// That filter detached (`--pid`).
    UnfilterJournal,
    /// journald's socket in a map whose program drops all (`--pid`), for a while.
    MapJournal,
    /// An LSM program at a hook (`--file`), given to process 1 to keep.
    StoreProgram,
    /// An LSM program at that hook, then the same.
    LsmProgram,
    /// An LSM program of the root cgroup at that hook, then the same.
    LsmCgroup,
    /// A program that has what the watchdog sends go nowhere.
    Swallow,
    /// A program behind the one that keeps `kernel.ftrace_enabled`.
    SetRetval,
    /// A program that writes other processes' memory.
    WriteUser,
    /// A program that sends SIGKILL to whom it runs for, the watchdog.
    SendSignal,
    /// The same to any process, which newer kernels have a function for.
    SendSignalTask,
    /// Another program behind the link that lists mappings.
    LinkUpdate,
    /// A program in the place of another one's function.
    Extension,
    /// A scheduler.
    Scheduler,
    /// The same by the operations that newer kernels have beside those.
    SchedulerCid,
    /// An innocent program at a function.
    Tracing,
    /// An innocent program for a new control group.
    CgroupDevice,
    /// An innocent program for a socket.
    SocketFilter,
    /// mount(2), moving `--file`.
    MountMove,
    /// move_mount(2) of `--file`.
    MoveMount,
    /// A file system mounted on `--file`.
    MountOver,
    /// Another file or folder mounted on `--file`.
    BindOver,
    /// The same, with flags that alone would only change how a mount is shared.
    BindPrivateOver,
    /// pivot_root(2).
    PivotRoot,
    /// Moving `--file` below a mount that is then unmounted.
    PrivateMove,
    /// The last niceness.
    Nice,
    /// The class of processes that read when no other process does.
    IoPriority,
    /// The first to be killed when memory runs out.
    OomScore,
    /// The last niceness of its session.
    Autogroup,
    /// chmod(2) of `--file`.
    Mode,
    /// chown(2) of `--file`.
    Owner,
    /// An ACL that takes the right to execute `--file` away.
    Acl,
    /// Another extended attribute of `--file`.
    Attribute,
    /// A processor started by its file `online` (`--file`).
    ProcessorOnline,
    /// The same by its file `hotplug/target`.
    ProcessorTarget,
    /// Siblings of processors started by the file `smt/control`.
    ProcessorSiblings,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    eprintln!("disarm: pid {}", std::process::id());
    report(&act(&arguments))
}

fn act(arguments: &Arguments) -> io::Result<()> {
    let (pid, file) = (arguments.pid, arguments.file.as_path());
    match arguments.by {
        By::Kill => process::kill(pid, libc::SIGKILL),
        By::Stop => process::kill(pid, libc::SIGSTOP),
        By::Pidfd => process::pidfd_signal(pid),
        By::Thread => process::kill_thread(pid),
        By::FileSignal => process::file_signal(pid),
        By::Trace => process::trace(pid),
        By::WriteMemory => process::write_memory(pid),
        By::Counter => process::counter(pid),
        By::ProcMem => process::proc_mem(pid),
        By::StealDescriptor => process::descriptor(pid, 0).map(drop),
        By::TracedExec => process::traced_exec(&arguments.executable),
        By::ProcessorLimit => process::processor_limit(pid),
        By::Idle => process::idle(pid),
        By::Impostor => {
            process::impostor(&arguments.executable).and_then(|()| bpf::pinned(file).map(drop))
        }
        By::PinnedTable => bpf::pinned(file).map(drop),
        By::TableById => objects::table_by_id(),
        By::DetachProgram => objects::detach_program(),
        By::DetachLink => objects::detach_link(),
        By::Unlink => std::fs::remove_file(file),
        By::Rename => files::rename(file),
        By::Replace => files::replace(file),
        By::MakeFolder => files::make_folder(file),
        By::MakeFile => files::make_file(file),
        By::Write => std::fs::OpenOptions::new().append(true).open(file).map(drop),
        By::Truncate => files::truncate(file),
        By::Unmount => files::unmount(file),
        By::AnswerOthers => programs::answer_others(pid),
        By::SharedRoot => process::shared_root(&arguments.executable, file),
        By::TakeJournal => journal::take(),
        By::FilterJournal => journal::filter(pid),
        By::UnfilterJournal => journal::unfilter(pid),
        By::MapJournal => journal::map(pid),
        By::StoreProgram => programs::store_program(&file.to_string_lossy()),
        By::FmodRet => programs::answer_for_hook(file),
        By::LsmProgram => programs::lsm_program(file),
        By::LsmCgroup => programs::lsm_cgroup(file),
        By::Swallow => programs::swallow(pid),
        By::SetRetval => programs::set_retval(),
        By::WriteUser => programs::write_user(),
        By::SendSignal => programs::send_signal(pid),
        By::SendSignalTask => programs::send_signal_task(pid),
        By::LinkUpdate => objects::update_link(),
        By::Extension => programs::extension(),
        By::Scheduler => programs::scheduler("sched_ext_ops"),
        By::SchedulerCid => programs::scheduler("sched_ext_ops_cid"),
        By::Tracing => programs::tracing(),
        By::CgroupDevice => programs::cgroup_device(),
        By::SocketFilter => programs::socket_filter(),
        By::MountMove => mounts::move_old(file),
        By::MoveMount => mounts::move_new(file),
        By::MountOver => mounts::over(file),
        By::BindOver => mounts::bind_over(file, 0),
        By::BindPrivateOver => mounts::bind_over(file, libc::MS_PRIVATE),
        By::PivotRoot => mounts::pivot(),
        By::PrivateMove => mounts::private_move(file),
        By::Nice => starving::nice(pid),
        By::IoPriority => starving::io_priority(pid),
        By::OomScore => starving::oom_score(pid),
        By::Autogroup => starving::autogroup(pid),
        By::Mode => starving::mode(file),
        By::Owner => starving::owner(file),
        By::Acl => starving::acl(file),
        By::Attribute => starving::attribute(file, c"user.anything", b"1"),
        By::ProcessorOnline => processors::online(file),
        By::ProcessorTarget => processors::target(file),
        By::ProcessorSiblings => processors::siblings(file),
    }
}

fn report(result: &io::Result<()>) -> ExitCode {
    let (said, status) = match result {
        Ok(()) => ("ok".to_owned(), 0),
        Err(error) => (errno::name(error), 1),
    };
    println!("{}", serde_json::json!({ "pid": std::process::id(), "result": said }));
    ExitCode::from(status)
}
