//! Progress in lines: each step prints when it begins and ends, and in a long silence the running
//! steps print their state. The output of commands goes to a log, and is shown if they fail.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask::cache;

/// The longest time without a line of output while a step runs.
const SILENCE: Duration = Duration::from_secs(10);
/// Lines of a log that are shown when a command fails.
const SHOWN: usize = 25;
/// Columns of a line.
const WIDTH: usize = 100;
/// A shorter run prints no table of times.
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
    /// The last line that a command of this step printed.
    at: String,
}

struct Done {
    name: &'static str,
    begun: Duration,
    took: Duration,
}

/// A running step.
pub(crate) struct Step<'a> {
    steps: &'a Steps,
    name: &'static str,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        let state = State { running: Vec::new(), done: Vec::new(), said: Instant::now() };
        Self { begun: Instant::now(), state: Mutex::new(state) }
    }

    /// Does `work`, and regularly prints the state of its running steps.
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

    /// Begins a step.
    pub(crate) fn step(&self, name: &'static str, what: &str) -> Step<'_> {
        let running = Running { name, begun: Instant::now(), at: String::new() };
        self.state().running.push(running);
        self.say(name, what);
        Step { steps: self, name }
    }

    /// Prints the time of each step, if the run was long.
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

    /// The same, and passes each line of the output to `read`.
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
            // The output of a build script comes late, and does not show the progress of cargo.
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
            // Other steps still run to their end. The error with the reason is printed after that.
            self.steps.say(self.name, &format!("FAILED: {status}"));
            bail!("{shown}: {status}\n  {}\nfull output: {}", last.join("\n  "), path.display());
        }
        Ok(())
    }

    /// Prints what the step does next.
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

/// Runs a command that changes nothing, and returns its output.
pub(crate) fn ask(command: &mut Command) -> Result<String> {
    let shown = words(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {shown}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown}: {}: {}", output.status, errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn words(command: &Command) -> String {
    // The name without the directory: any cargo is just `cargo`.
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

/// Cuts a line to the width of the terminal.
fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// A temporary directory in the cache. It is removed when this is dropped.
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
        // Remaining files disappear with the cache.
        let _left = fs::remove_dir_all(&self.0);
    }
}
