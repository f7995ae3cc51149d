//! `cargo xtask build`: builds the programs that run in guests, and those that start guests.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use xtask::cache;

use crate::steps::Steps;

/// Builds the watchdog and the programs of the node machine in release mode, where
/// [`cache::guest_programs`] looks for them. This is quick if nothing changed.
pub(crate) fn programs(steps: &Steps) -> Result<()> {
    let step = steps.step("build", "the watchdog, and the programs of the node machine");
    step.run(cargo().args(["build", "--release", "--locked", "--bins"]).args(PACKAGES))
}

/// The packages of every build. The features of the dependencies depend on this list, so with
/// another list cargo would compile them again.
pub(crate) const PACKAGES: [&str; 4] = ["--package", "watchdog", "--package", "watchdog-tests"];

/// Every package with tests, in every build of tests for the same reason.
pub(crate) const TESTED: [&str; 12] = [
    "--package",
    "watchdog",
    "--package",
    "watchdog-tests",
    "--package",
    "watchdog-common",
    "--package",
    "watchdog-core",
    "--package",
    "watchdog-guard",
    "--package",
    "xtask",
];

/// The cargo that runs this program, at the project's root.
pub(crate) fn cargo() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(cache::project_root());
    command
}

/// A test program.
#[derive(Clone, Debug)]
pub(crate) struct TestProgram {
    /// The name of its file without cargo's hash.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

/// Builds every test of the workspace.
pub(crate) fn tests(steps: &Steps) -> Result<Vec<TestProgram>> {
    let step = steps.step("tests", "every test of the workspace");
    let mut programs = Vec::new();
    let mut cargo = cargo();
    cargo.args(["test", "--release", "--locked", "--no-run"]).args(TESTED);
    step.run_reading(&mut cargo, |line| programs.extend(test_program(line)))?;
    ensure!(!programs.is_empty(), "cargo names no test program");
    Ok(programs)
}

/// Reads `Executable unittests src/lib.rs (target/release/deps/watchdog-0123456789abcdef)`.
fn test_program(line: &str) -> Option<TestProgram> {
    let (_, file) = line.strip_prefix("Executable ")?.rsplit_once('(')?;
    let file = cache::project_root().join(file.strip_suffix(')')?);
    let (name, _number) = file.file_name()?.to_str()?.rsplit_once('-')?;
    Some(TestProgram { name: name.to_owned(), file })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that test programs are found in cargo's output.
    #[test]
    fn programs_are_named() {
        let line = "Executable tests/damage.rs (target/x/release/deps/damage-2db1a72de0e9d9a1)";
        let program = test_program(line).expect("a program");
        assert_eq!(program.name, "damage");
        assert!(program.file.ends_with("target/x/release/deps/damage-2db1a72de0e9d9a1"));
        assert!(test_program("Finished `release` profile").is_none());
    }
}
