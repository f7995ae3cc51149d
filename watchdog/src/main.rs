//! The `watchdog` command: parses, dispatches, sets the exit status.

use std::env;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use watchdog::cli::{Cli, Status, execute};
use watchdog::role;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("WATCHDOG_LOG", "warn"))
        .format_timestamp(None)
        .init();
    match begin() {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("watchdog: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Gives up what the command does not need, then does what it says.
fn begin() -> anyhow::Result<Status> {
    let command = env::args_os().nth(1);
    if !role::is_needed_by(command.as_deref()) {
        role::give_up().context(
            "cannot give up the role that the guard trusts: the kernel takes no seccomp filter. Run this command as a user without root's rights, or on a kernel with CONFIG_SECCOMP_FILTER",
        )?;
    }
    execute(Cli::parse())
}
