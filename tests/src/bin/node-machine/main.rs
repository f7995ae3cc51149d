//! `cargo xtask demo`, `machine` and `bench`: commands that use the node machine. `cargo xtask`
//! sets up and builds what they need, and starts this program with its own command line.

mod bench;
mod console;
mod demo;
mod record;
mod svg;

use std::process::ExitCode;

use anyhow::{Result, bail};
use xtask::options::{self, Command};

fn main() -> ExitCode {
    let command = match options::parse() {
        Ok(command) => command,
        Err(status) => return status,
    };
    let Err(error) = run(&command) else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Demo(options) => demo::run(options),
        Command::Machine(options) => console::run(options),
        Command::Bench(options) => bench::run(options),
        _ => bail!("that is done by `cargo xtask`"),
    }
}
