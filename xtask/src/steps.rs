//! What is being done, in lines: each step says when it begins and ends; who waits for long sees
//! what the steps that run are at. What commands print goes to a log, and is shown when they fail.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask::cache;

/// The longest that nothing is said while something is done.
const SILENCE: Duration = Duration::from_secs(10);
/// Lines of a log that are shown when a command fails.
const SHOWN: usize = 25;
/// Columns of a line.
const WIDTH: usize = 100;
/// A run that was shorter has no table of where its time went.
const WORTH_A_TABLE: Duration = Duration::from_secs(5);

/// All steps of a run.
pub(crate) struct Steps {
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    running: Vec<Running>,
    done: Vec<Done>,
    said: Instant,
}

struct Running {
    name: &'static str,
    begun: Instant,
    /// What a command of it printed last.
    at: String,
}

struct Done {
    name: &'static str,
    begun: Duration,
    took: Duration,
}

/// A step while it is done.
pub(crate) struct Step<'a> {
    steps: &'a Steps,
    name: &'static str,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        let state = State { running: Vec::new(), done: Vec::new(), said: Instant::now() };
        Self { begun: Instant::now(), state: Mutex::new(state) }
    }

    /// Does `work`, and meanwhile says again and again what its steps are at.
    pub(crate) fn watch<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while stopped
                    .recv_timeout(Duration::from_millis(500))
                    .is_err_and(|it| it == std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    self.say_what_runs();
                }
            });
            let result = work();
            drop(stop);
            result
        })
    }

    /// Begins a step that does something.
    pub(crate) fn step(&self, name: &'static str, what: &str) -> Step<'_> {
        let running = Running { name, begun: Instant::now(), at: String::new() };
        self.state().running.push(running);
        self.say(name, what);
        Step { steps: self, name }
    }

    /// Prints where the time went, if it was much.
    pub(crate) fn summary(&self) {
        let all = self.begun.elapsed();
        let state = self.state();
        if state.done.is_empty() || all < WORTH_A_TABLE {
            return;
        }
        eprintln!("\n{:<12}{:>10}{:>10}", "step", "began at", "took");
        for Done { name, begun, took } in &state.done {
            let (begun, took) = (begun.as_secs_f32(), took.as_secs_f32());
            eprintln!("{name:<12}{begun:>8.1} s{took:>8.1} s");
        }
        eprintln!("{:<12}{:>10}{:>8.1} s\n", "all", "", all.as_secs_f32());
    }

    fn say(&self, name: &str, what: &str) {
        let mut state = self.state();
        state.said = Instant::now();
        let line = format!("{:>6.1} s  {name:<12}{what}", self.begun.elapsed().as_secs_f32());
        eprintln!("{}", cut(&line));
    }

    fn say_what_runs(&self) {
        let lines: Vec<(&str, String)> = {
            let state = self.state();
            if state.said.elapsed() < SILENCE {
                return;
            }
            let line = |it: &Running| {
                let seconds = it.begun.elapsed().as_secs();
                (it.name, format!("… {seconds} s: {}", it.at))
            };
            state.running.iter().map(line).collect()
        };
        for (name, line) in lines {
            self.say(name, &line);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step<'_> {
    /// Runs a command. Its output goes to the step's log.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        self.run_reading(command, |_| {})
    }

    /// The same, where each line of its output is looked at.
    pub(crate) fn run_reading(
        &self,
        command: &mut Command,
        mut read: impl FnMut(&str),
    ) -> Result<()> {
        let shown = words(command);
        self.steps.say(self.name, &format!("$ {shown}"));
        let path = log(self.name)?;
        let mut log = File::options().create(true).append(true).open(&path)?;
        writeln!(log, "$ {shown}")?;
        let (lines, output) = std::io::pipe()?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
        // The child has its own copies of the pipe's end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut last = Vec::new();
        for line in BufReader::new(lines).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
            writeln!(log, "{line}")?;
            if line.trim().is_empty() {
                continue;
            }
            read(line.trim());
            // What a build script has to say comes late, and says nothing of where cargo is.
            if !line.trim_start().starts_with("warning: ") {
                self.is_at(line.trim());
            }
            last.push(line);
            if last.len() > SHOWN {
                last.remove(0);
            }
        }
        let status = child.wait()?;
        if !status.success() {
            // What else runs goes on to its end, and the reason comes then.
            self.steps.say(self.name, &format!("FAILED: {status}"));
            bail!("{shown}: {status}\n  {}\nfull output: {}", last.join("\n  "), path.display());
        }
        Ok(())
    }

    /// Says what is done next in the step.
    pub(crate) fn say(&self, what: &str) {
        self.steps.say(self.name, what);
    }

    fn is_at(&self, line: &str) {
        let mut state = self.steps.state();
        if let Some(running) = state.running.iter_mut().find(|it| it.name == self.name) {
            line.clone_into(&mut running.at);
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        let mut state = self.steps.state();
        let Some(place) = state.running.iter().position(|it| it.name == self.name) else { return };
        let running = state.running.remove(place);
        let took = running.begun.elapsed();
        let begun = running.begun.duration_since(self.steps.begun);
        state.done.push(Done { name: self.name, begun, took });
        drop(state);
        self.steps.say(self.name, &format!("ended after {:.1} s", took.as_secs_f32()));
    }
}

/// Runs a command that only asks, and returns what it prints.
pub(crate) fn ask(command: &mut Command) -> Result<String> {
    let shown = words(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {shown}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown}: {}: {}", output.status, errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn words(command: &Command) -> String {
    // Whichever cargo it is.
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut words = vec![program.to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

fn log(step: &str) -> Result<PathBuf> {
    let directory = cache::directory().join("logs");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory.join(format!("{step}.log")))
}

/// A line that fits the terminal.
fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// A place in the cache to work in; gone when dropped.
pub(crate) struct Workspace(PathBuf);

impl Workspace {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = cache::directory().join(format!(".setup-{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What is left goes with the cache.
        let _left = fs::remove_dir_all(&self.0);
    }
}
