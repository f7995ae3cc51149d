//! The emulator: QEMU in a reliable version.
//!
//! QEMU 7.2 translates a page without its lock (`tb_gen_code` in `accel/tcg/translate-all.c`). QEMU
//! 10.0 holds the lock. Without it, QEMU misses a write by another processor during the
//! translation, and keeps the old code. A kernel that patches its text while two processors run it
//! may then execute an `int3` that was already replaced, and crash ("Oops: int3"). This is rare,
//! but a test run patches often.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};
use xtask::cache;

use super::{apt::Suite, place::put};
use crate::steps::{Step, Steps, Workspace, ask};

/// The first release that is known to lock a page before it translates it.
const RELIABLE: (u32, u32) = (10, 0);

/// QEMU, what it loads at run time, and the firmware it boots.
const PACKAGES: [&str; 4] =
    ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];

/// Takes QEMU from the backports of this machine's suite if the installed one is too old. The
/// backport uses the libraries of the installed one.
///
/// Without such a backport, the installed one is used.
pub(super) fn install(steps: &Steps) -> Result<()> {
    let version = version_of("qemu-system-x86_64")?;
    if version >= RELIABLE || cache::backported_qemu().exists() {
        return Ok(());
    }
    let (major, minor) = version;
    let what = format!(
        "QEMU {major}.{minor} may run code that was patched long ago: fetching a later one"
    );
    let step = steps.step("emulator", &what);
    if let Err(error) = fetch(&step) {
        step.say("no later QEMU: now and then, a kernel may die of \"Oops: int3\"");
        step.say(&format!("{error:#}"));
    }
    Ok(())
}

fn fetch(step: &Step<'_>) -> Result<()> {
    let suite = format!("{}-backports", codename()?);
    let view = Suite::open(&suite)?;
    view.update(step)?;
    let work = Workspace::new("emulator")?;
    let unpacked = work.path().join("qemu");
    view.unpack(step, &PACKAGES.map(str::to_owned), &unpacked)?;
    let program = unpacked.join(cache::QEMU_IN_PACKAGE);
    let (major, minor) = version_of(&program.display().to_string())?;
    if (major, minor) < RELIABLE {
        bail!("Debian {suite} has only QEMU {major}.{minor}");
    }
    put(&unpacked, &cache::directory().join(cache::QEMU))
}

/// The suite this machine was installed from.
fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(codename.context("/etc/os-release names no suite")?.trim_matches('"').to_owned())
}

fn version_of(program: &str) -> Result<(u32, u32)> {
    let said = ask(Command::new(program).arg("--version"))?;
    parse(&said).with_context(|| format!("{program} does not report its version: {said}"))
}

/// `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`, and more lines.
fn parse(said: &str) -> Option<(u32, u32)> {
    let version = said.split_once("version ")?.1;
    let mut numbers = version.split(['.', ' ']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that versions are compared as numbers.
    #[test]
    fn versions_are_numbers() {
        let version = parse("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright");
        assert_eq!(version, Some((10, 0)));
        assert!(version >= Some(RELIABLE));
        assert!(parse("QEMU emulator version 7.2.22 (Debian)") < Some(RELIABLE));
        assert_eq!(parse("QEMU"), None);
    }
}
