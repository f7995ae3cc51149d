//! A run of a target: libFuzzer's processes and their findings.

use std::{
    ffi::OsStr,
    fmt, fs,
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use super::{
    progress::Progress,
    target::{ENVIRONMENT, Target},
};

/// Options for every run: no input may use more than 2 GiB of memory, or hang. The targets
/// themselves detect slow inputs by processor time, because wall-clock time means nothing on a busy
/// machine.
const OPTIONS: [&str; 4] =
    ["-timeout=30", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1"];

/// How often a long run prints its progress.
const NEWS: Duration = Duration::from_secs(30);

/// The result of a target.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) target: String,
    pub(super) findings: Vec<String>,
    figures: Progress,
    elapsed: Duration,
}

/// A target to run.
pub(super) struct Session<'a> {
    target: &'a Target,
    processes: usize,
    news: bool,
}

impl<'a> Session<'a> {
    /// A session with a number of processes.
    pub(super) fn new(target: &'a Target, processes: usize) -> Self {
        Self { target, processes, news: false }
    }

    /// The same session, which also prints its progress.
    pub(super) fn with_news(self) -> Self {
        Self { news: true, ..self }
    }

    /// Runs every seed once.
    pub(super) fn replay(&self) -> Result<Outcome> {
        let seeds = self.target.seeds()?;
        let arguments: Vec<_> = seeds.iter().map(|seed| seed.as_os_str()).collect();
        self.work(1, &arguments)
    }

    /// Runs new inputs, starting from the seeds and `corpus`. Inputs that reach something new are
    /// added to `corpus`.
    pub(super) fn run(&self, corpus: &Path, options: &[&str]) -> Result<Outcome> {
        fs::create_dir_all(corpus)?;
        self.target.seeds()?;
        let seeds = self.target.place("seeds");
        let mut arguments: Vec<&OsStr> = options.iter().map(|option| option.as_ref()).collect();
        arguments.extend([corpus.as_os_str(), seeds.as_os_str()]);
        self.work(self.processes, &arguments)
    }

    fn work(&self, processes: usize, arguments: &[&OsStr]) -> Result<Outcome> {
        let begun = Instant::now();
        let mut running =
            (0..processes).map(|_| self.start(arguments)).collect::<Result<Vec<Child>>>()?;
        let progress: Vec<_> = running.iter().map(|_| Mutex::new(Progress::default())).collect();
        let statuses = thread::scope(|scope| {
            for (process, progress) in running.iter_mut().zip(&progress) {
                let output = process.stderr.take().context("libFuzzer has no output")?;
                scope.spawn(move || listen(output, progress));
            }
            self.wait(&mut running, &progress, begun)
        })?;
        let figures = sum(&progress)?;
        let findings = self.findings(&progress, &statuses)?;
        let target = self.target.name.clone();
        Ok(Outcome { target, findings, figures, elapsed: begun.elapsed() })
    }

    /// Waits for every process, and prints progress.
    fn wait(
        &self,
        running: &mut [Child],
        progress: &[Mutex<Progress>],
        begun: Instant,
    ) -> Result<Vec<ExitStatus>> {
        let mut announced = begun;
        loop {
            let statuses: Option<Vec<_>> =
                running.iter_mut().map(|process| process.try_wait()).collect::<io::Result<_>>()?;
            if let Some(statuses) = statuses {
                return Ok(statuses);
            }
            thread::sleep(Duration::from_millis(100));
            if self.news && announced.elapsed() >= NEWS {
                announced = Instant::now();
                println!("{}", line(&self.target.name, &sum(progress)?, begun.elapsed(), ""));
            }
        }
    }

    fn start(&self, arguments: &[&OsStr]) -> Result<Child> {
        let artifacts = self.target.artifacts();
        fs::create_dir_all(&artifacts)?;
        Command::new(self.target.program())
            .envs(ENVIRONMENT)
            .args(OPTIONS)
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.target.program().display()))
    }

    fn findings(
        &self,
        progress: &[Mutex<Progress>],
        statuses: &[ExitStatus],
    ) -> Result<Vec<String>> {
        let program = self.target.program();
        let mut findings = Vec::new();
        for (progress, status) in progress.iter().zip(statuses) {
            if !status.success() {
                let said = copy(progress)?.failure.join("\n  ");
                findings.push(format!("{status}\n  {said}\n  again: {} FILE", program.display()));
            }
        }
        Ok(findings)
    }
}

/// Reads the output of a process to its end.
fn listen(output: impl io::Read, progress: &Mutex<Progress>) {
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        if let Ok(mut progress) = progress.lock() {
            progress.hear(&String::from_utf8_lossy(&line));
        }
    }
}

fn copy(progress: &Mutex<Progress>) -> Result<Progress> {
    Ok(progress.lock().map_err(|_| anyhow!("a thread that reads libFuzzer's output died"))?.clone())
}

/// The figures of all processes of a target. The processes share their corpus.
fn sum(progress: &[Mutex<Progress>]) -> Result<Progress> {
    let mut sum = Progress::default();
    for progress in progress {
        let one = copy(progress)?;
        sum.runs += one.runs;
        sum.coverage = sum.coverage.max(one.coverage);
        sum.features = sum.features.max(one.features);
        sum.corpus = sum.corpus.max(one.corpus);
    }
    Ok(sum)
}

/// Prints the results of all targets.
pub(super) fn table(outcomes: &[Outcome]) {
    println!("\nfuzz target            runs  coverage  features   corpus  seconds  findings");
    for outcome in outcomes {
        let findings = outcome.findings.len().to_string();
        println!("{}", line(&outcome.target, &outcome.figures, outcome.elapsed, &findings));
    }
    for outcome in outcomes {
        for finding in &outcome.findings {
            println!("\nFAILED  {}: {finding}", outcome.target);
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { runs, coverage, .. } = self.figures;
        write!(f, "{runs} inputs, {coverage} edges")
    }
}

fn line(target: &str, figures: &Progress, elapsed: Duration, findings: &str) -> String {
    let Progress { runs, coverage, features, corpus, .. } = figures;
    let seconds = elapsed.as_secs();
    format!(
        "{target:<16} {runs:>10} {coverage:>9} {features:>9} {corpus:>8} {seconds:>8} {findings:>9}"
    )
}
