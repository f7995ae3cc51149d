//! The command line: one file a subcommand. Parsing, dispatch and exit status are in `main.rs`.

mod args;
mod baseline;
mod guard;
mod guard_args;
mod locate;
mod man;
mod progress;
mod report;
mod run;
mod scan;
mod scan_report;
mod secret;

pub use args::{Cli, Command, MemoryArgs};

use std::process::ExitCode;

/// What a command ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything is as it should be.
    Good,
    /// A node is tampered with.
    Tampered,
    /// No judgement: something was lost, unverified, missing or wrong.
    Undecided,
    /// A watch that had begun cannot go on.
    Broken,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Good => 0,
            Status::Tampered => 1,
            Status::Undecided => 2,
            Status::Broken => 3,
        })
    }
}

/// Runs a parsed command line.
///
/// # Errors
/// What kept the command from doing its work, with what to do about it: exit status 2.
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
