//! The cache, where `cargo xtask setup` stores fetched and built files.

use std::{env, path::Path, path::PathBuf};

use anyhow::{Context, Result, bail};

/// The environment variable with a directory to use in place of `.cache` at the project's root.
pub const CACHE_VARIABLE: &str = "WATCHDOG_CACHE";

/// The project's root directory.
#[must_use]
pub fn project_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// The cache directory. It need not exist. A relative name in the environment is relative to the
/// project's root, in whichever directory the program runs.
#[must_use]
pub fn directory() -> PathBuf {
    project_root().join(env::var_os(CACHE_VARIABLE).unwrap_or_else(|| ".cache".into()))
}

/// Kernels, one directory each: `vmlinuz`, `release`, `lib/modules/RELEASE/`.
#[must_use]
pub fn kernels() -> PathBuf {
    directory().join("kernels")
}

/// Images of kernels for the survey, one directory each: `vmlinuz`, `suite`.
#[must_use]
pub fn surveyed() -> PathBuf {
    directory().join("survey")
}

/// The directory of the programs that check spelling and dependencies.
#[must_use]
pub fn linters() -> PathBuf {
    directory().join("linters")
}

/// One of these programs.
#[must_use]
pub fn linter(name: &str) -> PathBuf {
    linters().join("bin").join(name)
}

/// Node 0's root file system, ext4. Machines write only to a copy.
#[must_use]
pub fn node0_root() -> PathBuf {
    directory().join("node0.ext4")
}

/// The directory of a QEMU that is newer than the installed one; see [`qemu`].
pub const QEMU: &str = "qemu";

/// The program in QEMU's package.
pub const QEMU_IN_PACKAGE: &str = "usr/bin/qemu-system-x86_64";

/// The emulator that `cargo xtask setup` fetched, if it had to.
#[must_use]
pub fn backported_qemu() -> PathBuf {
    directory().join(QEMU).join(QEMU_IN_PACKAGE)
}

/// The emulator to use: the one in the cache, or else the installed one.
#[must_use]
pub fn qemu() -> PathBuf {
    Some(backported_qemu())
        .filter(|program| program.exists())
        .unwrap_or_else(|| "qemu-system-x86_64".into())
}

/// The emulator's file.
///
/// # Errors
/// When no emulator is found.
pub fn qemu_path() -> Result<PathBuf> {
    let program = qemu();
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join(&program))
        .find(|file| file.is_file())
        .context("QEMU is not installed: run `cargo xtask setup`")
}

/// The directory of programs for guests, where `cargo xtask build` stores them.
#[must_use]
pub fn guest_programs() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    project_root().join(target).join("x86_64-unknown-linux-gnu/release")
}

/// Returns `path` if it exists, else an error that says how to make it.
pub fn require(path: PathBuf, what: &str, command: &str) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    bail!("{what} is missing ({}): run `{command}`", path.display())
}
