//! `attack`: writes to physical memory by each path that the guard must close, and by some that it
//! must leave open. Prints one JSON line with the result.
//!
//! Exit status: 0 the act succeeded, 1 the kernel refused it, 2 it could not be tried. The first
//! line of standard error has the process id, because a process that is killed for the act prints
//! nothing more.

mod asynchronous;
mod calls;
mod hardware;
mod holders;
mod in_flight;
mod mappings;
mod race;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use watchdog_tests::errno;

/// One attempt.
#[derive(Parser)]
struct Arguments {
    /// How to write (or, with the last four, how to do what must stay allowed).
    #[arg(long, value_enum)]
    path: Path,
    /// Physical address to write at.
    #[arg(long, value_parser = address)]
    at: u64,
    /// Byte to write there [default: the one that is there].
    #[arg(long, value_parser = address)]
    value: Option<u64>,
    /// remap-file-pages, race: physical address of pages that may be mapped writable, two or four.
    #[arg(long, value_parser = address, default_value = "0x20000000")]
    via: u64,
    /// flood, beyond: how many times.
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// race: for how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// race: what its random choices follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// race: physical address where memory that may be written ends and protected memory begins.
    #[arg(long, value_parser = address, default_value = "0x38000000")]
    border: u64,
    /// The device.
    #[arg(long, default_value = "/dev/mem")]
    device: PathBuf,
    /// Before anything is tried: wait until there is this file.
    #[arg(long)]
    wait: Option<PathBuf>,
    /// in-flight: what is waited for before anything is written.
    #[arg(long, default_value = "/tmp/go")]
    until: PathBuf,
    /// After all that is reported: stay until there is this file.
    #[arg(long)]
    stay: Option<PathBuf>,
}

/// Ways to write, and to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Path {
    Write,
    Pwrite,
    Writev,
    IoUring,
    Aio,
    Mmap,
    MmapValidate,
    RemapFilePages,
    Mprotect,
    PkeyMprotect,
    /// mmap of a driver's device, all of which is the page of `--at`.
    DeviceMmap,
    /// The same, kept by a process that hides it: it may not be used any more, and the thread that
    /// the process is named by is gone.
    DeviceHide,
    /// The same, for another process that shares this one's memory and stores the byte again and
    /// again.
    DeviceShare,
    /// pwrite of the same byte `--count` times.
    Flood,
    /// write to the end of all addresses and beyond, by `--count` threads, one after another; it
    /// succeeds when the kernel refuses each with EOVERFLOW.
    Beyond,
    /// mmap, and a store of the byte again and again, until it is killed.
    Hold,
    /// The device open for writing, until it is killed.
    HoldOpen,
    /// All of those that use `/dev/mem`, by many threads that change each other's arguments.
    Race,
    /// The device open for writing in a socket's queue, until there is `--until`; then it is
    /// written by pwrite, else by mmap.
    InFlight,
    /// The same among the files of an io_uring.
    InFlightRing,
    /// ioperm of the port `--at`.
    Ioperm,
    /// kexec_load of a page to `--at`.
    Kexec,
    /// The same with a table of segments that cannot be read.
    KexecUnreadable,
    /// kexec_load of a page to `--via`, which another thread changes to `--at` in flight.
    KexecRace,
    Open,
    Read,
    MmapRead,
    MmapPrivate,
    /// mprotect of only the first of two pages, of which `--at` is the second.
    MprotectBeside,
}

fn address(text: &str) -> Result<u64, String> {
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16))
        .map_err(|error| format!("{error}: write it as 0x38000000"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    eprintln!("attack: pid {}", std::process::id());
    wait_for(arguments.wait.as_deref());
    if arguments.path == Path::Race {
        return race(&arguments);
    }
    if let Some(result) = act_without_device(&arguments) {
        return report(&arguments, result);
    }
    let writes = !matches!(arguments.path, Path::Read | Path::MmapRead);
    // The current byte, read before the attack. mmap also serves what read(2) does not, such as
    // device registers. A driver's device is mapped only once, so the caller must give the byte.
    let before = match (arguments.path, arguments.value) {
        (Path::DeviceMmap | Path::DeviceHide | Path::DeviceShare, value) => {
            value.map(|value| value as u8).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "what to write must be given by --value",
                )
            })
        }
        _ => File::open(&arguments.device).and_then(|device| mappings::load(&device, arguments.at)),
    };
    let device = OpenOptions::new().read(true).write(writes).open(&arguments.device);
    let (device, before) = match (device, before) {
        (Ok(device), Ok(before)) => (device, before),
        // If the kernel refuses to open the device, that refusal is the result of every act.
        (Err(error), _)
            if arguments.path == Path::Open || error.raw_os_error() == Some(libc::EPERM) =>
        {
            return report(&arguments, Err(error));
        }
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("attack: {} cannot be used: {error}", arguments.device.display());
            return ExitCode::from(2);
        }
    };
    let value = arguments.value.map_or(before, |value| value as u8);
    let result = loop {
        match act(&arguments, &device, value) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result,
        }
    };
    report(&arguments, result)
}

/// Runs the race and reports its counters. Exits with 0 if any write to protected memory succeeded,
/// as far as the attack itself can know.
fn race(arguments: &Arguments) -> ExitCode {
    let page = |address: u64| address & !0xfff;
    let plan = race::Plan {
        target: page(arguments.at),
        via: page(arguments.via),
        border: page(arguments.border),
        seconds: arguments.seconds,
        seed: arguments.seed,
    };
    match race::run(plan) {
        Ok(tally) => {
            println!("{}", tally.to_json());
            ExitCode::from(u8::from(tally.through() == 0))
        }
        Err(error) => {
            eprintln!("attack: no race: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the paths that need no device or open it themselves.
fn act_without_device(arguments: &Arguments) -> Option<io::Result<()>> {
    match arguments.path {
        Path::Ioperm => Some(hardware::ioperm(arguments.at)),
        Path::Kexec => Some(hardware::kexec(arguments.at, true)),
        Path::KexecUnreadable => Some(hardware::kexec(arguments.at, false)),
        Path::KexecRace => {
            let time = Duration::from_secs(arguments.seconds);
            Some(hardware::kexec_race(arguments.at, arguments.via, time))
        }
        Path::InFlight => {
            Some(in_flight::by_socket(&arguments.device, arguments.at, &arguments.until))
        }
        Path::InFlightRing => {
            Some(in_flight::by_ring(&arguments.device, arguments.at, &arguments.until))
        }
        _ => None,
    }
}

fn act(arguments: &Arguments, device: &File, value: u8) -> io::Result<()> {
    let at = arguments.at;
    match arguments.path {
        Path::Open => Ok(()),
        Path::Read => calls::read(device, at).map(drop),
        Path::Write => calls::write(device, at, value),
        Path::Pwrite => calls::pwrite(device, at, value),
        Path::Beyond => (0..arguments.count).try_for_each(|_| {
            thread::scope(|all| all.spawn(|| calls::beyond(device)).join())
                .unwrap_or_else(|_| Err(io::Error::other("a thread ended early")))
        }),
        Path::Writev => calls::writev(device, at, value),
        Path::IoUring => asynchronous::io_uring(device, at, value),
        Path::Aio => asynchronous::aio(device, at, value),
        Path::Mmap => mappings::mmap(device, at, value, libc::MAP_SHARED),
        Path::Hold => holders::hold(device, at, value),
        Path::HoldOpen => loop {
            thread::park();
        },
        Path::MmapValidate => mappings::mmap(device, at, value, libc::MAP_SHARED_VALIDATE),
        Path::MmapPrivate => mappings::mmap(device, at, value, libc::MAP_PRIVATE),
        Path::MmapRead => mappings::load(device, at).map(drop),
        Path::RemapFilePages => mappings::remap_file_pages(device, at, value, arguments.via),
        Path::Mprotect => mappings::mprotect(device, at, value),
        Path::PkeyMprotect => mappings::pkey_mprotect(device, at, value),
        Path::DeviceMmap => mappings::device_mmap(device, at, value),
        Path::DeviceHide => holders::hide(device, at, value),
        Path::DeviceShare => holders::share(device, at, value),
        Path::MprotectBeside => mappings::mprotect_beside(device, at),
        Path::Flood => hardware::flood(device, at, value, arguments.count),
        Path::Race | Path::InFlight | Path::InFlightRing | Path::Ioperm => Ok(()),
        Path::Kexec | Path::KexecUnreadable | Path::KexecRace => Ok(()),
    }
}

fn report(arguments: &Arguments, result: io::Result<()>) -> ExitCode {
    let path = arguments.path.to_possible_value().map(|value| value.get_name().to_owned());
    let (said, status) = match &result {
        Ok(()) => ("ok".to_owned(), 0),
        Err(error) => (errno::name(error), 1),
    };
    println!("{}", serde_json::json!({ "path": path, "pid": std::process::id(), "result": said }));
    wait_for(arguments.stay.as_deref());
    ExitCode::from(status)
}

/// Waits until this file exists.
fn wait_for(file: Option<&std::path::Path>) {
    while file.is_some_and(|file| !file.exists()) {
        thread::sleep(Duration::from_millis(20));
    }
}
