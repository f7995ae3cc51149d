//! The `watchdog` command: parses, dispatches, sets the exit status.

use std::process::ExitCode;

use clap::Parser;
use watchdog::cli::{Cli, execute};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("WATCHDOG_LOG", "warn"))
        .format_timestamp(None)
        .init();
    match execute(Cli::parse()) {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("watchdog: {error:#}");
            ExitCode::from(2)
        }
    }
}
