//! Everything a fresh Debian machine with rustup lacks, as far as a command needs it.
//!
//! Each step looks whether its work is done before it does it, so that the second run takes a
//! second. What waits for the network, what computes, and what installs go on side by side. What is
//! fetched or built goes to the cache under a temporary name and is renamed once it is whole: what
//! an interrupted run leaves is never taken for the real thing.

mod apt;
mod emulator;
mod gate;
mod kernels;
mod needs;
mod node0;
mod packages;
mod place;
mod toolchain;

use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow};
use xtask::cache;
use xtask::kernels::SUITES;
use xtask::options;

pub(crate) use self::needs::Needs;

use self::gate::Gate;
use crate::steps::Steps;

/// Sets up all of it.
pub(crate) fn run(steps: &Steps, options: &options::Setup) -> Result<()> {
    let all = SUITES.as_slice();
    let named: Vec<&str> = options.kernels.iter().map(String::as_str).collect();
    let kernels = if named.is_empty() { all } else { named.as_slice() };
    let needs = Needs { fuzzing: true, machine: Some(kernels), refresh: options.refresh };
    ensure(steps, needs, || Ok(()))?;
    eprintln!("setup: done; everything is in {}", cache::directory().display());
    Ok(())
}

/// Installs what checks spelling and dependencies.
pub(crate) fn linters(steps: &Steps) -> Result<()> {
    toolchain::install_linters(steps)
}

/// Sets up what a command needs, and has the project built as soon as that can be.
pub(crate) fn ensure(
    steps: &Steps,
    needs: Needs<'_>,
    build: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    let kernels = needs.machine.unwrap_or_default();
    if needs.machine.is_some() {
        fs::create_dir_all(cache::kernels())
            .with_context(|| format!("cannot create {}", cache::kernels().display()))?;
    }
    let installed = Gate::default();
    thread::scope(|scope| {
        let system = scope.spawn(|| {
            let done = packages::install(steps, needs);
            installed.open(done.is_ok());
            done?;
            if needs.machine.is_some() {
                emulator::install(steps)?;
                node0::build(steps)?;
            }
            Ok(())
        });
        let fetched = scope.spawn(|| {
            let mut all = kernels.iter();
            all.try_for_each(|kernel| kernels::fetch(steps, kernel, needs.refresh, &installed))
        });
        let built = scope.spawn(move || {
            toolchain::install(steps, needs.fuzzing)?;
            build()
        });
        // The first failure is what the others may have failed by.
        [system, fetched, built].into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("a step of the setup panicked"))?
        })
    })
}
