//! Node 0 from the host's view: through its agent.

use std::{
    collections::HashMap,
    fmt,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::health::Health;
use crate::{
    agent::{self, Command, Event, Stream, Tagged},
    truth::Truth,
};

/// How long a program run by [`Node0::run`] may take.
const RUN: Duration = Duration::from_secs(300);

/// Maximum time for anything that the agent does by itself.
const ANSWER: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Node 0.
pub struct Node0 {
    link: Arc<Link>,
    /// Receives the agent's message that it runs.
    greeting: Mutex<Receiver<Event>>,
}

/// The connection to the agent, shared with every running [`Process`].
struct Link {
    port: Mutex<UnixStream>,
    listeners: Mutex<HashMap<u64, Sender<Event>>>,
    next_tag: AtomicU64,
    health: Arc<Health>,
}

/// Result of a program on node 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status, or 128 plus the signal's number, as in a shell.
    pub status: i32,
    /// What the program wrote to standard output.
    pub stdout: Vec<u8>,
    /// What the program wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Did the program end with status 0?
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Returns standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, err) =
            (String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr));
        write!(f, "status {}, output `{}`, errors `{}`", self.status, out.trim(), err.trim())
    }
}

impl Node0 {
    /// Connects to node 0's agent, which need not run yet.
    pub(super) fn connect(port: UnixStream, health: Arc<Health>) -> Result<Self> {
        let (hello, greeting) = mpsc::channel();
        let mut incoming = port.try_clone()?;
        let link = Arc::new(Link {
            port: Mutex::new(port),
            listeners: Mutex::new(HashMap::from([(agent::UNASKED, hello)])),
            next_tag: AtomicU64::new(agent::UNASKED + 1),
            health,
        });
        let dispatcher = Arc::downgrade(&link);
        thread::Builder::new().name("node0".into()).spawn(move || {
            while let Ok(Tagged { tag, message }) = agent::receive::<Event>(&mut incoming)
                && let Some(link) = dispatcher.upgrade()
            {
                if let Some(listener) = link.listeners().get(&tag) {
                    let _no_listener = listener.send(message);
                }
            }
        })?;
        Ok(Self { link, greeting: Mutex::new(greeting) })
    }

    /// Waits until node 0 has booted and its agent reports it.
    pub(super) fn booted(&self, limit: Duration) -> Result<()> {
        let greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        self.link.next_event(&greeting, "node 0 does not boot", limit).map(drop)
    }

    /// Waits until the agent answers on a node 0 that was restored from a snapshot.
    pub(super) fn resumed(&self) -> Result<()> {
        self.read("/proc/uptime").map(drop).context("node 0 does not go on after it was saved")
    }

    /// Runs a program to its end. Programs in `/host` need no path.
    pub fn run<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Result<Output> {
        self.spawn(argv)?.wait(RUN)
    }

    /// Runs a shell script.
    pub fn shell(&self, script: &str) -> Result<Output> {
        self.run(["sh", "-c", script])
    }

    /// Starts a program and returns while it still runs.
    pub fn spawn<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Result<Process> {
        self.spawn_with_input(argv, Vec::new())
    }

    /// Starts a program that reads `input` from its standard input.
    pub fn spawn_with_input<S: AsRef<str>>(
        &self,
        argv: impl IntoIterator<Item = S>,
        input: Vec<u8>,
    ) -> Result<Process> {
        let argv: Vec<_> = argv.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let name = argv.join(" ");
        let (tag, events) = self.link.send(Command::Start { argv, input })?;
        Ok(Process {
            link: Arc::clone(&self.link),
            tag,
            name,
            events,
            output: Output { status: 0, stdout: Vec::new(), stderr: Vec::new() },
            ended: false,
        })
    }

    /// Creates or replaces a file on node 0.
    pub fn write(&self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let content = content.to_vec();
        self.link.ask(Command::Write { path: path.to_owned(), mode, content }).map(drop)
    }

    /// Reads a file on node 0.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        match self.link.ask(Command::Read { path: path.to_owned() })? {
            Event::Content(content) => Ok(content),
            other => bail!("the agent answered {other:?}"),
        }
    }

    /// Returns what node 0's kernel reports about its text.
    pub fn truth(&self) -> Result<Truth> {
        match self.link.ask(Command::Truth)? {
            Event::Truth(truth) => Ok(truth),
            other => bail!("the agent answered {other:?}"),
        }
    }
}

impl Link {
    fn send(&self, message: Command) -> Result<(u64, Receiver<Event>)> {
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        let (listener, events) = mpsc::channel();
        self.listeners().insert(tag, listener);
        self.send_tagged(tag, message)?;
        Ok((tag, events))
    }

    fn send_tagged(&self, tag: u64, message: Command) -> Result<()> {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        agent::send(&mut *port, &Tagged { tag, message }).context("QEMU's end of the port is gone")
    }

    /// Sends a request that has a single answer, and returns the answer.
    fn ask(&self, message: Command) -> Result<Event> {
        let what = format!("node 0's agent does not answer {}", name_of(&message));
        let (tag, events) = self.send(message)?;
        let event = self.next_event(&events, &what, ANSWER);
        self.listeners().remove(&tag);
        match event? {
            Event::Failed(why) => bail!("node 0: {why}"),
            event => Ok(event),
        }
    }

    fn next_event(&self, from: &Receiver<Event>, what: &str, limit: Duration) -> Result<Event> {
        self.health.wait(what, limit, POLL_INTERVAL, || match from.try_recv() {
            Ok(event) => Ok(Some(event)),
            // The dispatcher ends with QEMU, and the wait detects that.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(None),
        })
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<u64, Sender<Event>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(command: &Command) -> String {
    match command {
        Command::Start { argv, .. } => format!("`{}`", argv.join(" ")),
        Command::Write { path, .. } => format!("the writing of {path}"),
        Command::Read { path } => format!("the reading of {path}"),
        Command::Signal { .. } | Command::Truth => format!("{command:?}"),
    }
}

/// A program that runs on node 0. Dropping it kills it.
pub struct Process {
    link: Arc<Link>,
    tag: u64,
    name: String,
    events: Receiver<Event>,
    output: Output,
    ended: bool,
}

impl Process {
    /// Waits for the program to end. If it takes longer than `limit`, it is killed, and the error
    /// shows what it wrote.
    pub fn wait(mut self, limit: Duration) -> Result<Output> {
        let what = format!("`{}` on node 0 does not end", self.name);
        let health = Arc::clone(&self.link.health);
        let waited = health.wait(&what, limit, POLL_INTERVAL, || {
            self.take_events()?;
            Ok(self.ended.then_some(()))
        });
        match waited {
            Ok(()) => Ok(std::mem::replace(&mut self.output, empty())),
            Err(error) => Err(error.context(format!("so far: {}", self.output))),
        }
    }

    /// Waits until `found` finds something in the program's output so far, and returns that.
    /// Returns an error if the program ends before that.
    pub fn wait_for<T>(
        &mut self,
        limit: Duration,
        mut found: impl FnMut(&Output) -> Option<T>,
    ) -> Result<T> {
        let what = format!("`{}` on node 0 does not write what is awaited", self.name);
        let health = Arc::clone(&self.link.health);
        let waited = health.wait(&what, limit, POLL_INTERVAL, || {
            self.take_events()?;
            match found(&self.output) {
                None if self.ended => bail!("`{}` on node 0 ended early", self.name),
                seen => Ok(seen),
            }
        });
        waited.with_context(|| format!("so far: {}", self.output))
    }

    /// Returns the program's output so far. The status is meaningless until the program has ended.
    pub fn so_far(&mut self) -> Result<&Output> {
        self.take_events()?;
        Ok(&self.output)
    }

    /// Returns whether [`Self::so_far`] has received the program's end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Sends a signal to the program and its children.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.link.send_tagged(self.tag, Command::Signal { signal })
    }

    fn take_events(&mut self) -> Result<()> {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Output { stream: Stream::Out, bytes } => self.output.stdout.extend(bytes),
                Event::Output { stream: Stream::Err, bytes } => self.output.stderr.extend(bytes),
                Event::Exited { status } => {
                    self.output.status = status;
                    self.ended = true;
                }
                Event::Failed(why) => {
                    self.ended = true;
                    bail!("node 0: {why}");
                }
                other => bail!("the agent answered {other:?}"),
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.link.listeners().remove(&self.tag);
        if !self.ended {
            // QEMU may have ended already, and the program with it.
            let _gone = self.signal(libc::SIGKILL);
        }
    }
}

fn empty() -> Output {
    Output { status: 0, stdout: Vec::new(), stderr: Vec::new() }
}
