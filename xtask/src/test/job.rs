//! One test, or the unit tests of one program.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xtask::cache;

use crate::build;
use crate::fuzz::{self, Target};

/// Lines of a failed test's output that are shown. The first lines say what failed, the last how
/// the test ended.
const FIRST: usize = 30;
const LAST: usize = 50;

/// A job to run.
pub(super) struct Job {
    /// The name, by which a job can be selected.
    pub(super) name: String,
    /// The group to which its time is added.
    pub(super) group: String,
    pub(super) work: Work,
}

/// The work of a job.
pub(super) enum Work {
    /// A test harness with these arguments.
    Harness { program: PathBuf, arguments: Vec<String>, environment: Vec<(&'static str, String)> },
    /// The examples in the documentation.
    Examples,
    /// The seeds of a fuzz target. Unless `quick`, also new inputs from there.
    Fuzz { target: Target, quick: bool },
    /// The check that the seeds match their names.
    Seeds,
}

/// The result of a job.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) passed: usize,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
    /// Notes to print in any case.
    pub(super) notes: Vec<String>,
    pub(super) took: Duration,
}

impl Job {
    pub(super) fn run(self) -> Outcome {
        let begun = Instant::now();
        let result = self.work.run();
        let (name, group, took) = (self.name, self.group, begun.elapsed());
        let (passed, notes, failure) = match result {
            Ok((passed, notes)) => (passed, notes, None),
            Err(error) => (0, Vec::new(), Some(format!("{error:#}"))),
        };
        Outcome { name, group, passed, failure, notes, took }
    }
}

impl Work {
    /// Runs the job. Returns how many tests passed, and their notes.
    fn run(&self) -> Result<(usize, Vec<String>)> {
        match self {
            Self::Harness { program, arguments, environment } => {
                let mut command = Command::new(program);
                command
                    .current_dir(cache::project_root())
                    .args(arguments)
                    .envs(environment.iter().map(|(name, value)| (name, value)));
                harness(&mut command)
            }
            Self::Examples => {
                let mut cargo = build::cargo();
                cargo.args(["test", "--release", "--locked", "--doc"]).args(build::TESTED);
                harness(&mut cargo)
            }
            Self::Fuzz { target, quick } => {
                fuzz::regression(target, *quick).map(|said| (1, vec![said]))
            }
            Self::Seeds => {
                let said = fuzz::check_seeds()?;
                Ok((1, said.lines().map(str::to_owned).collect()))
            }
        }
    }
}

/// Runs a test harness to its end and reads its output.
fn harness(command: &mut Command) -> Result<(usize, Vec<String>)> {
    let output = command
        .envs([("RUST_BACKTRACE", "0"), ("RUST_LIB_BACKTRACE", "0")])
        .stdin(Stdio::null())
        .output()
        .context("it cannot be started")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let passed: usize = said.lines().filter_map(passed).sum();
    if !output.status.success() || passed == 0 {
        bail!("{}\n{}", output.status, ends(&said));
    }
    Ok((passed, said.lines().filter_map(note).collect()))
}

/// The first and the last lines.
fn ends(said: &str) -> String {
    let mut lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() > FIRST + LAST {
        let left_out = format!("… {} lines …", lines.len() - FIRST - LAST);
        lines.splice(FIRST..lines.len() - LAST, [left_out.as_str()]);
        return lines.join("\n");
    }
    lines.join("\n")
}

/// Reads `test result: ok. 7 passed; 0 failed; …`.
fn passed(line: &str) -> Option<usize> {
    let (before, _) = line.strip_prefix("test result: ")?.split_once(" passed")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// Reads a measurement of a test: `note: …`.
fn note(line: &str) -> Option<String> {
    line.strip_prefix("note: ").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that summary lines are counted and notes are collected, and that other lines are
    /// ignored.
    #[test]
    fn harness_lines() {
        assert_eq!(passed("test result: FAILED. 49 passed; 2 failed; 8 ignored"), Some(49));
        assert_eq!(passed("test result ... ok"), None);
        assert_eq!(note("note: 3 s").as_deref(), Some("3 s"));
        assert_eq!(note("a note: 3 s"), None);
    }

    /// Check that a failed program is shown with its last lines, and that a program that ran no
    /// test counts as failed.
    #[test]
    fn failures_are_shown() {
        let run = |script: &str| harness(Command::new("sh").args(["-c", script]));
        let failed = run("echo one; echo two >&2; exit 3").expect_err("it fails");
        assert!(format!("{failed:#}").ends_with("exit status: 3\none\ntwo"), "{failed:#}");
        let long = run("seq 100; exit 1").expect_err("it fails");
        let long = format!("{long:#}");
        assert!(long.contains("\n1\n") && long.ends_with("\n99\n100"), "{long}");
        assert!(long.contains("\n30\n… 20 lines …\n51\n"), "{long}");
        assert!(run("echo 'test result: ok. 0 passed; 0 failed'").is_err());
        let (passed, notes) =
            run("echo 'note: x'; echo 'test result: ok. 2 passed; 0 failed'").expect("it passes");
        assert_eq!((passed, notes), (2, vec!["x".to_owned()]));
    }
}
