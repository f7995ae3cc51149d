//! Starts the program for work on the node machine. It links crates that this program does not.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::cache;

use crate::build;
use crate::setup::{self, Needs};
use crate::steps::Steps;

/// The program, among those that [`build::programs`] builds.
const PROGRAM: &str = "node-machine";

/// Sets up a machine with these kernels, and runs the program with this one's command line.
pub(crate) fn hand_over(steps: &Steps, kernels: &[&str]) -> Result<()> {
    let needs = Needs { machine: Some(kernels), ..Needs::default() };
    steps.watch(|| setup::ensure(steps, needs, || build::programs(steps)))?;
    steps.summary();
    let status = Command::new(cache::guest_programs().join(PROGRAM))
        .args(env::args_os().skip(1))
        .status()
        .with_context(|| format!("cannot start {PROGRAM}"))?;
    if !status.success() {
        bail!("{PROGRAM} ended with {status}");
    }
    Ok(())
}
