//! A service node: does what the host asks through the mailbox.

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

use crate::{modules, mount_new};

/// How long a node sleeps between two looks at its mailbox.
const PERIOD: Duration = Duration::from_millis(5);

const TRACING: &str = "/sys/kernel/tracing";

/// The largest file content that fits a reply.
const LARGEST_CONTENT: u64 = 0xb000;

/// Answers requests until the node is stopped. `mailbox` is the mailbox's
/// physical address, as the kernel command line has it.
pub(crate) fn serve(mailbox: &str) -> Result<Infallible> {
    let mailbox = map(mailbox)?;
    mailbox.open()?;
    fs::write("/dev/kmsg", "node-init: listening\n").context("cannot write /dev/kmsg")?;
    let mut held = Vec::new();
    loop {
        mailbox.tick()?;
        if let Some((sequence, request)) = mailbox.pending_request::<Request>()? {
            let reply = perform(request, &mut held)
                .unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
            mailbox.send_reply(sequence, &reply)?;
        }
        thread::sleep(PERIOD);
    }
}

fn map(address: &str) -> Result<Mailbox> {
    let digits = address.trim_start_matches("0x");
    let start = u64::from_str_radix(digits, 16)
        .with_context(|| format!("watchdog.mailbox={address} is no address"))?;
    let memory = OpenOptions::new().read(true).write(true).open("/dev/mem")?;
    let size = usize::try_from(MAILBOX_SIZE)?;
    let mapping = MmapRegion::from_file(FileOffset::new(memory, start), size)
        .with_context(|| format!("cannot map the mailbox at {start:#x}"))?;
    Mailbox::new(mapping, 0)
}

fn perform(request: Request, held: &mut Vec<Vec<u8>>) -> Result<Reply> {
    match request {
        Request::Truth => return Ok(Reply::Truth(Truth::of_this_kernel()?)),
        Request::Read { path } => return read(&path).map(Reply::Content),
        Request::Write { path, content } => write(Path::new(&path), &content)?,
        Request::Allocate { mebibytes } => {
            for _ in 0..mebibytes {
                held.push(vec![0xa5; 1 << 20]);
            }
        }
        Request::Free => held.clear(),
        Request::Tracing { on } => trace(on)?,
        Request::LoadModule { name, parameters } => modules::load(&name, &parameters)?,
        Request::UnloadModule { name } => modules::unload(&name)?,
    }
    Ok(Reply::Done)
}

fn read(path: &str) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let mut content = Vec::new();
    file.take(LARGEST_CONTENT)
        .read_to_end(&mut content)
        .with_context(|| format!("cannot read {path}"))?;
    Ok(content)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Switches the function tracer and all trace events on or off.
fn trace(on: bool) -> Result<()> {
    let tracing = Path::new(TRACING);
    if !tracing.join("current_tracer").exists() {
        mount_new("tracefs", "tracefs", TRACING, "")?;
    }
    let (tracer, events) = if on { ("function", "1") } else { ("nop", "0") };
    write(&tracing.join("current_tracer"), tracer.as_bytes())?;
    write(&tracing.join("events/enable"), events.as_bytes())
}
