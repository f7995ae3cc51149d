//! Debian packages this machine needs.

use std::process::Command;

use anyhow::{Result, bail};

use super::{run, say};

/// What for: a linker and a C library to link with; libFuzzer; the machine;
/// node 0's root file system; `depmod`; the keys of Debian's archive; what else
/// than the watchdog unpacks kernels and reads their ELF (gzip is always there).
const PACKAGES: [&str; 13] = [
    "gcc",
    "libc6-dev",
    "g++",
    "qemu-system-x86",
    "mmdebstrap",
    "e2fsprogs",
    "kmod",
    "debian-archive-keyring",
    "binutils",
    "bzip2",
    "lz4",
    "xz-utils",
    "zstd",
];

/// mmdebstrap maps user ids where it is not run by root.
const PACKAGE_FOR_USERS: &str = "uidmap";

/// Installs what is missing, through sudo where that is needed.
pub(super) fn install() -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let mut missing: Vec<_> =
        PACKAGES.into_iter().filter(|package| !is_installed(package)).collect();
    if !root && !is_installed(PACKAGE_FOR_USERS) {
        missing.push(PACKAGE_FOR_USERS);
    }
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing Debian packages: {}", missing.join(" ")));
    let install = ["install", "--yes", "--no-install-recommends"];
    if !root && !works(Command::new("sudo").arg("--version")) {
        bail!(
            "these packages are missing, and neither root nor sudo is at hand to install them; \
             as root, run:\n  apt-get update && apt-get {} {}",
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
    run(apt_get().arg("update"))?;
    run(apt_get().args(install).args(&missing))
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
