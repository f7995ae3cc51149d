//! `cargo xtask survey`: fetches the kernels that Debian's suites offer, and has them surveyed by a
//! program that may link the watchdog's library.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::{cache, options};

use crate::build;
use crate::setup::{self, Needs};
use crate::steps::Steps;

/// The program, among those that [`build::programs`] builds.
const PROGRAM: &str = "survey";

/// Fetches the images, then starts the program with this one's command line.
pub(crate) fn run(steps: &Steps, options: &options::Survey) -> Result<()> {
    steps.watch(|| {
        setup::ensure(steps, Needs::default(), || build::programs(steps))?;
        if options.offline { Ok(()) } else { setup::images(steps, options.all) }
    })?;
    steps.summary();
    let status = Command::new(cache::guest_programs().join(PROGRAM))
        .args(env::args_os().skip(1))
        .status()
        .with_context(|| format!("cannot start {PROGRAM}"))?;
    ensure!(status.success(), "{PROGRAM} ended with {status}");
    Ok(())
}
