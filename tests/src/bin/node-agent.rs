//! The host's agent on node 0: starts programs, sends their output to the host, reads and writes
//! files. See [`watchdog_tests::agent`] for the protocol.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt, process::ExitStatusExt},
    path::PathBuf,
    process::{self, Child, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use watchdog_tests::{
    agent::{self, Command, Event, Stream, Tagged},
    truth::Truth,
};

/// How long the agent waits for output after a program has ended: its children may keep the streams
/// open forever.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

const PATH: &str = "/host:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn main() -> Result<()> {
    let port = open_port()?;
    let agent = Arc::new(Agent { port: Mutex::new(port.try_clone()?), groups: Mutex::default() });
    agent.send(agent::UNASKED, Event::Hello);
    let mut port = port;
    loop {
        let Tagged { tag, message } =
            agent::receive::<Command>(&mut port).context("the host's end of the port is gone")?;
        let agent = Arc::clone(&agent);
        thread::spawn(move || agent.answer(tag, message));
    }
}

/// Finds the port by its name. Its device number depends on the machine.
fn open_port() -> Result<File> {
    for entry in fs::read_dir("/sys/class/virtio-ports").context("no virtio serial port")? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("name"))?.trim_end() == agent::PORT {
            let device = PathBuf::from("/dev").join(entry.file_name());
            return OpenOptions::new()
                .read(true)
                .write(true)
                .open(&device)
                .with_context(|| format!("cannot open {}", device.display()));
        }
    }
    bail!("no virtio serial port is named {}", agent::PORT)
}

struct Agent {
    port: Mutex<File>,
    /// Process groups of running programs, by tag.
    groups: Mutex<HashMap<u64, Pid>>,
}

impl Agent {
    fn send(&self, tag: u64, message: Event) {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = agent::send(&mut *port, &Tagged { tag, message }) {
            eprintln!("node-agent: cannot reach the host: {error}");
            process::exit(1);
        }
    }

    fn answer(self: &Arc<Self>, tag: u64, command: Command) {
        let event = match command {
            Command::Start { argv, input } => self.run(tag, &argv, &input),
            Command::Signal { signal } => return self.signal(tag, signal),
            Command::Write { path, mode, content } => write(&path, mode, &content),
            Command::Read { path } => {
                fs::read(&path).with_context(|| format!("cannot read {path}")).map(Event::Content)
            }
            Command::Truth => Truth::of_this_kernel().map(Event::Truth),
        };
        self.send(tag, event.unwrap_or_else(|error| Event::Failed(format!("{error:#}"))));
    }

    fn run(self: &Arc<Self>, tag: u64, argv: &[String], input: &[u8]) -> Result<Event> {
        let mut child = start(argv)?;
        let group = Pid::from_child(&child);
        self.groups().insert(tag, group);
        let (done, finished) = mpsc::channel();
        self.carry(tag, Stream::Out, child.stdout.take(), done.clone());
        self.carry(tag, Stream::Err, child.stderr.take(), done);
        if let Some(mut stdin) = child.stdin.take() {
            // A program need not read its input, so this error does not count.
            let _unread = stdin.write_all(input);
        }
        let status = child.wait();
        self.groups().remove(&tag);
        // Ends early if both streams are closed.
        for _ in 0..2 {
            let _closed = finished.recv_timeout(LAST_OUTPUT);
        }
        Ok(Event::Exited { status: as_shell(status?) })
    }

    fn carry(
        self: &Arc<Self>,
        tag: u64,
        stream: Stream,
        source: Option<impl Read + Send + 'static>,
        done: mpsc::Sender<()>,
    ) {
        let agent = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = vec![0; 0x1_0000];
            let Some(mut source) = source else { return };
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                agent.send(tag, Event::Output { stream, bytes: buffer[..length].to_vec() });
            }
            let _no_listener = done.send(());
        });
    }

    fn signal(&self, tag: u64, signal: i32) {
        let Some(signal) = Signal::from_named_raw(signal) else { return };
        if let Some(group) = self.groups().get(&tag) {
            // The program may have ended in between; then its status is already on its way.
            let _gone = kill_process_group(*group, signal);
        }
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Pid>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(argv: &[String]) -> Result<Child> {
    let (program, arguments) = argv.split_first().context("no program named")?;
    process::Command::new(program)
        .args(arguments)
        .current_dir("/root")
        .env("PATH", PATH)
        .env("HOME", "/root")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A separate process group, so that a signal also reaches the program's children.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {program} on node 0 (PATH={PATH})"))
}

fn write(path: &str, mode: u32, content: &[u8]) -> Result<Event> {
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write {path}"))?;
    Ok(Event::Done)
}

fn as_shell(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
