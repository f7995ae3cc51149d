//! `cargo xtask setup`: everything a fresh Debian machine with rustup lacks.
//!
//! Each step looks whether its work is done before it does it, so that the
//! second run takes a second. What is fetched or built goes to the cache under
//! a temporary name and is renamed once it is whole: what an interrupted run
//! leaves is never taken for the real thing.

mod apt;
mod emulator;
mod kernels;
mod node0;
mod packages;
mod toolchain;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use clap::Args;
use watchdog_tests::{cache, kernel};

/// Set up this machine.
#[derive(Args)]
pub(crate) struct Options {
    /// A kernel to fetch, by Debian suite (sid) or version (6.12), with a
    /// flavour if need be (6.12-rt-amd64); repeatable [default: bookworm, trixie and sid].
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Ask the mirror for newer kernels, and fetch them.
    #[arg(long)]
    refresh: bool,
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        let default = || kernel::SUITES.map(str::to_owned).to_vec();
        let kernels = if self.kernels.is_empty() { default() } else { self.kernels.clone() };
        everything(&kernels, self.refresh)?;
        eprintln!("setup: done; everything is in {}", cache::directory().display());
        Ok(())
    }
}

/// Sets up what `cargo xtask` commands need, with these kernels; says only what
/// it does, and nothing where all is done.
pub(crate) fn ensure_ready<S: AsRef<str>>(kernels: &[S]) -> Result<()> {
    everything(kernels, false)
}

/// Sets up what building alone needs.
pub(crate) fn ensure_tools() -> Result<()> {
    packages::install()?;
    toolchain::install()
}

fn everything<S: AsRef<str>>(kernels: &[S], refresh: bool) -> Result<()> {
    ensure_tools()?;
    emulator::install()?;
    fs::create_dir_all(cache::kernels())
        .with_context(|| format!("cannot create {}", cache::kernels().display()))?;
    for kernel in kernels {
        kernels::fetch(kernel.as_ref(), refresh)?;
    }
    node0::build()
}

/// Says what happens next.
fn say(what: &str) {
    eprintln!("setup: {what}");
}

/// Shows a command and runs it; its own output is seen as well.
fn run(command: &mut Command) -> Result<()> {
    eprintln!("  $ {}", words(command));
    let status = command.status().with_context(|| format!("cannot start {}", words(command)))?;
    ensure!(status.success(), "{} failed: {status}", words(command));
    Ok(())
}

/// Runs a command that only asks, and returns what it prints.
fn ask(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", words(command)))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}", words(command), errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

/// A directory in the cache to work in; gone when dropped.
fn workspace() -> Result<tempfile::TempDir> {
    let parent = cache::directory();
    fs::create_dir_all(&parent)?;
    Ok(tempfile::Builder::new().prefix(".setup-").tempdir_in(parent)?)
}

/// Puts a finished artefact in its place, over an older one.
fn put(made: &Path, place: &Path) -> Result<()> {
    if place.is_dir() && !place.is_symlink() {
        fs::remove_dir_all(place)?;
    }
    fs::rename(made, place).with_context(|| format!("cannot put {} in place", place.display()))
}
