//! Checks of the tree besides its tests: spelling, and the licences, sources and known
//! vulnerabilities of the dependencies (`typos.toml`, `deny.toml`).

use std::process::Command;

use anyhow::Result;
use xtask::cache;

use crate::setup;
use crate::steps::Steps;

/// The workspaces. Each has a separate lock file.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "watchdog/fuzz/Cargo.toml"];

/// Runs both checks. Installs their programs if they are missing.
pub(crate) fn run(steps: &Steps) -> Result<()> {
    setup::linters(steps)?;
    let step = steps.step("typos", "spelling");
    step.run(&mut linter("typos"))?;
    let step = steps.step("deny", "licences, sources and versions of the dependencies");
    for manifest in MANIFESTS {
        step.run(deny(manifest).args(["bans", "licenses", "sources"]))?;
    }
    // The list of vulnerabilities is not in the registry, and some machines cannot reach it.
    let step = steps.step("advisories", "known vulnerabilities of the dependencies");
    if let Err(error) = step.run(linter("cargo-deny").args(["fetch", "db"])) {
        step.say(&format!("NOT checked: the list cannot be fetched: {error:#}"));
        return Ok(());
    }
    MANIFESTS.iter().try_for_each(|manifest| step.run(deny(manifest).arg("advisories")))
}

/// `cargo deny check`, which prints only problems.
fn deny(manifest: &str) -> Command {
    let mut deny = linter("cargo-deny");
    deny.args(["--log-level", "error", "--locked"]);
    deny.args(["--manifest-path", manifest, "--config", "deny.toml"]);
    deny.args(["check", "--hide-inclusion-graph"]);
    deny
}

/// A linter, at the project's root.
fn linter(name: &str) -> Command {
    let mut command = Command::new(cache::linter(name));
    command.current_dir(cache::project_root());
    command
}
