//! Installs everything that a command needs and that a fresh Debian machine with rustup lacks.
//!
//! Each step first checks whether its work is already done, so the second run takes a second. Steps
//! that wait for the network, compute, or install run in parallel. A fetched or built file has a
//! temporary name in the cache, and gets its name once it is complete. So a partial file of an
//! interrupted run is never used.

mod apt;
mod emulator;
mod gate;
mod images;
mod kernels;
mod needs;
mod node0;
mod own_kernels;
mod packages;
mod place;
mod toolchain;

use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow};
use xtask::cache;
use xtask::kernels::SUITES;
use xtask::options;

pub(crate) use self::images::fetch as images;
pub(crate) use self::needs::Needs;
pub(crate) use self::own_kernels::build as own_kernels;

use self::gate::Gate;
use crate::steps::Steps;

/// Sets up everything.
pub(crate) fn run(steps: &Steps, options: &options::Setup) -> Result<()> {
    let all = SUITES.as_slice();
    let named: Vec<&str> = options.kernels.iter().map(String::as_str).collect();
    let kernels = if named.is_empty() { all } else { named.as_slice() };
    let needs = Needs { fuzzing: true, machine: Some(kernels), refresh: options.refresh };
    ensure(steps, needs, || Ok(()))?;
    eprintln!("setup: done; everything is in {}", cache::directory().display());
    Ok(())
}

/// Installs the programs that check spelling and dependencies.
pub(crate) fn linters(steps: &Steps) -> Result<()> {
    toolchain::install_linters(steps)
}

/// Sets up what a command needs, and calls `build` as soon as that is possible.
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
        // The first failure may have caused the others.
        [system, fetched, built].into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("a step of the setup panicked"))?
        })
    })
}
