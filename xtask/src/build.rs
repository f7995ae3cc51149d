//! `cargo xtask build`: the programs that run in guests.

use std::{env, process::Command};

use anyhow::{Context, Result, ensure};
use watchdog_tests::cache;

/// Builds the watchdog and the programs of the node machine in release mode,
/// where [`cache::guest_programs`] looks for them. Quick when nothing changed.
pub(crate) fn guest_programs() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(cache::project_root())
        .args(["build", "--release", "--bins", "--package", "watchdog"])
        .args(["--package", "watchdog-tests"])
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the guests' programs could not be built: {status}");
    Ok(())
}
