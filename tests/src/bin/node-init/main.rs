//! Process 1 of every initramfs of the node machine.
//!
//! On node 0 it loads the modules for the root file system, mounts that and becomes systemd. On a
//! service node it stays and carries out the host's requests, which arrive in the node's mailbox.

mod bpf;
mod modules;
mod monitoring;
mod service;
mod symbols;

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};

fn main() -> ExitCode {
    let Err(error) = run();
    // A service node has no console device, only the kernel's own messages.
    let message = format!("node-init: {error:#}");
    if fs::write("/dev/kmsg", &message).is_err() {
        eprintln!("{message}");
    }
    // If process 1 ends, the kernel panics. The host then reports the panic together with the line
    // above.
    ExitCode::FAILURE
}

fn run() -> Result<std::convert::Infallible> {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount_new(kind, kind, target, "")?;
    }
    let command_line = fs::read_to_string("/proc/cmdline").context("cannot read /proc/cmdline")?;
    match parameter(&command_line, "watchdog.mailbox") {
        Some(mailbox) => service::serve(mailbox),
        None => monitoring::hand_over(),
    }
}

fn parameter<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    command_line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
}

/// Mounts a file system on a directory. Creates the directory if it is missing.
fn mount_new(kind: &str, source: &str, target: &str, options: &str) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("cannot create {target}"))?;
    let options = std::ffi::CString::new(options)?;
    mount(source, target, kind, MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("cannot mount {kind} `{source}` on {target}"))
}
