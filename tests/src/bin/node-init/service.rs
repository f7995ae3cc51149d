//! A service node: carries out the host's requests from the mailbox.

use std::{
    convert::Infallible, fs, fs::File, fs::OpenOptions, io::Read, io::Write, path::Path, thread,
    time::Duration,
};

use anyhow::{Context, Result};
use vm_memory::{FileOffset, MmapRegion};
use watchdog_tests::{
    layout::MAILBOX_SIZE,
    mailbox::Mailbox,
    service::{Reply, Request},
    truth::Truth,
};

use crate::{bpf::Programs, modules, mount_new, symbols};

/// How long a node sleeps before it reads its mailbox again: after a request, and after a long time
/// without one. Two nodes that woke up 200 times a second used half a processor of the host.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(80);

/// File systems that are mounted at the first request for one of their files.
const MOUNTS: [(&str, &str); 3] = [
    ("tracefs", "/sys/kernel/tracing"),
    ("debugfs", "/sys/kernel/debug"),
    ("securityfs", "/sys/kernel/security"),
];

/// State that a node keeps between requests.
#[derive(Default)]
struct State {
    /// Memory that the node allocated on request.
    held: Vec<Vec<u8>>,
    programs: Programs,
}

/// The largest file content that fits a reply.
const LARGEST_CONTENT: u64 = 0xb000;

/// Answers requests until the node is stopped. `mailbox` is the mailbox's physical address from the
/// kernel command line.
pub(crate) fn serve(mailbox: &str) -> Result<Infallible> {
    let mailbox = map(mailbox)?;
    mailbox.open()?;
    fs::write("/dev/kmsg", "node-init: listening\n").context("cannot write /dev/kmsg")?;
    let (mut state, mut pause) = (State::default(), SHORTEST);
    loop {
        mailbox.tick()?;
        pause = LONGEST.min(pause * 2);
        if let Some((sequence, request)) = mailbox.pending_request::<Request>()? {
            let reply = perform(request, &mut state)
                .unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
            mailbox.send_reply(sequence, &reply)?;
            pause = SHORTEST;
        }
        thread::sleep(pause);
    }
}

fn map(address: &str) -> Result<Mailbox> {
    let digits = address.trim_start_matches("0x");
    let start = u64::from_str_radix(digits, 16)
        .with_context(|| format!("watchdog.mailbox={address} is not an address"))?;
    let memory = OpenOptions::new().read(true).write(true).open("/dev/mem")?;
    let size = usize::try_from(MAILBOX_SIZE)?;
    let mapping = MmapRegion::from_file(FileOffset::new(memory, start), size)
        .with_context(|| format!("cannot map the mailbox at {start:#x}"))?;
    Mailbox::new(mapping, 0)
}

fn perform(request: Request, state: &mut State) -> Result<Reply> {
    match request {
        Request::Truth => return Ok(Reply::Truth(Truth::of_this_kernel()?)),
        Request::Read { path } => return read(&path).map(Reply::Content),
        Request::Write { path, content } => write(Path::new(&path), &content)?,
        Request::Allocate { mebibytes } => {
            for _ in 0..mebibytes {
                state.held.push(vec![0xa5; 1 << 20]);
            }
        }
        Request::Free => state.held.clear(),
        Request::Tracing { on } => trace(on)?,
        Request::LoadModule { name, parameters } => modules::load(&name, &parameters)?,
        Request::UnloadModule { name } => modules::unload(&name)?,
        Request::List { path } => return list(Path::new(&path)).map(Reply::Names),
        Request::MakeDirectory { path } => make_directory(Path::new(&path))?,
        Request::Names { addresses } => return symbols::of(&addresses).map(Reply::Names),
        Request::Attach { hook } => state.programs.attach(hook)?,
        Request::Detach { hook } => state.programs.detach(&hook)?,
    }
    Ok(Reply::Done)
}

fn read(path: &str) -> Result<Vec<u8>> {
    mount_for(Path::new(path))?;
    let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let mut content = Vec::new();
    file.take(LARGEST_CONTENT)
        .read_to_end(&mut content)
        .with_context(|| format!("cannot read {path}"))?;
    Ok(content)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    mount_for(path)?;
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn list(path: &Path) -> Result<Vec<String>> {
    mount_for(path)?;
    let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn make_directory(path: &Path) -> Result<()> {
    mount_for(path)?;
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Mounts the file system that contains a path, if it is one of [`MOUNTS`].
fn mount_for(path: &Path) -> Result<()> {
    for (kind, target) in MOUNTS {
        if path.starts_with(target) && fs::read_dir(target)?.next().is_none() {
            mount_new(kind, kind, target, "")?;
        }
    }
    Ok(())
}

/// Switches the function tracer and all trace events on or off.
fn trace(on: bool) -> Result<()> {
    let tracing = Path::new("/sys/kernel/tracing");
    let (tracer, events) = if on { ("function", "1") } else { ("nop", "0") };
    write(&tracing.join("current_tracer"), tracer.as_bytes())?;
    write(&tracing.join("events/enable"), events.as_bytes())
}
