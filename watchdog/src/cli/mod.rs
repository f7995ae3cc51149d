//! The command line: one file a subcommand. Parsing, dispatch and exit status are in `main.rs`.

mod allowed;
mod args;
mod baseline;
#[cfg(test)]
mod documented;
mod guard;
mod guard_args;
mod kernel;
mod locate;
mod log_level;
mod man;
mod memory_args;
mod not_judged;
mod preview;
mod progress;
mod report;
mod run;
mod scan;
mod scan_report;
mod secret;
mod state;
mod status;
mod undescribed;

pub use args::{Cli, Command, is_debug};
pub use log_level::{LOG_VARIABLE, usual_log};
pub use memory_args::MemoryArgs;
pub use status::Status;

/// Runs a parsed command line.
///
/// # Errors
/// The reason why the command could not do its work, with a remedy. The exit status is 2.
pub fn execute(cli: Cli) -> anyhow::Result<Status> {
    match cli.command {
        Command::Run(args) => run::execute(args),
        Command::Scan(args) => scan::execute(args),
        Command::Locate(args) => locate::execute(args),
        Command::Baseline(command) => baseline::execute(command),
        Command::Guard(command) => guard::execute(command),
        Command::Man(args) => man::execute(&args),
    }
}
