//! The Debian packages that this machine needs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Result, bail};

use super::needs::Needs;
use crate::steps::Steps;

/// A linker, and a C library to link with.
const BUILDING: [&str; 2] = ["gcc", "libc6-dev"];
/// libFuzzer is C++.
const FUZZING: [&str; 1] = ["g++"];
/// The machine and its disks; node 0's root file system; `depmod`; the keys of Debian's archive.
const MACHINE: [&str; 7] = [
    "qemu-system-x86",
    "qemu-utils",
    "mmdebstrap",
    "mount",
    "e2fsprogs",
    "kmod",
    "debian-archive-keyring",
];
/// Programs other than the watchdog that unpack kernels and read their ELF, for comparison. gzip is
/// always installed.
const COMPARED: [&str; 5] = ["binutils", "bzip2", "lz4", "xz-utils", "zstd"];

/// What compiles a kernel besides a C compiler: its build programs, the libraries of its tools, and
/// the program that makes type information.
const KERNELS: [&str; 13] = [
    "make",
    "flex",
    "bison",
    "bc",
    "cpio",
    "kmod",
    "pahole",
    "libelf-dev",
    "libssl-dev",
    "binutils",
    "xz-utils",
    "lz4",
    "zstd",
];
/// A compiler with kCFI, which Debian's default clang of 12 lacks.
const CLANG: [&str; 3] = ["clang-19", "lld-19", "llvm-19"];

/// mmdebstrap maps user ids if another user than root runs it.
const PACKAGE_FOR_USERS: &str = "uidmap";

/// Installs missing packages, with sudo if necessary.
pub(super) fn install(steps: &Steps, needs: Needs<'_>) -> Result<()> {
    let mut wanted = BUILDING.to_vec();
    if needs.fuzzing {
        wanted.extend(FUZZING);
    }
    if needs.machine.is_some() {
        wanted.extend(MACHINE.iter().chain(&COMPARED));
        if !is_root()? {
            wanted.push(PACKAGE_FOR_USERS);
        }
    }
    install_missing(steps, &wanted)
}

/// Installs what compiles kernels.
pub(super) fn install_for_kernels(steps: &Steps, clang: bool) -> Result<()> {
    let mut wanted = [&BUILDING[..], &KERNELS].concat();
    if clang {
        wanted.extend(CLANG);
    }
    install_missing(steps, &wanted)
}

/// The owner of `/proc/self` is the user of this process.
fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

fn install_missing(steps: &Steps, wanted: &[&str]) -> Result<()> {
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let root = is_root()?;
    let step = steps.step("packages", &missing.join(" "));
    let install = ["install", "--yes", "--no-install-recommends"];
    if !root && !works(Command::new("sudo").arg("--version")) {
        bail!(
            "these packages are missing, and there is neither root nor sudo to install them. As \
             root, run:\n  apt-get update && apt-get {} {}",
            install.join(" "),
            missing.join(" ")
        );
    }
    let apt_get = || {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command
    };
    step.run(apt_get().arg("update"))?;
    // No user is there to answer questions.
    let install = |packages: &[&str]| {
        step.run(apt_get().env("DEBIAN_FRONTEND", "noninteractive").args(install).args(packages))
    };
    install(&missing)?;
    // apt removes an older package that a new one breaks, such as qemu-utils of an earlier point
    // release.
    match self::missing(wanted) {
        removed if removed.is_empty() => Ok(()),
        removed => install(&removed),
    }
}

fn missing<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    wanted.iter().copied().filter(|package| !is_installed(package)).collect()
}

fn is_installed(package: &str) -> bool {
    let query = ["--show", "--showformat=${db:Status-Status}", package];
    Command::new("dpkg-query")
        .args(query)
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
