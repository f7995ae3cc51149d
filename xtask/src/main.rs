//! The project's own chores: `cargo xtask --help`.

mod bench;
mod build;
mod demo;
mod fuzz;
mod machine;
mod setup;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install and fetch everything the project needs; quick once it is there.
    Setup(setup::Options),
    /// Measure what the guard adds to what it has nothing to do with, on the machine.
    Bench(bench::Options),
    /// Build the watchdog and the guests' programs, optimised.
    Build,
    /// Boot the node machine and sit down at node 0's console.
    Machine(machine::Options),
    /// Play the main job, act by act, on the machine with three kernels.
    Demo(demo::Options),
    /// Feed hostile memory to everything that reads memory, and look for what fails.
    Fuzz(fuzz::Options),
    /// Run every test: units, fuzz targets, the machine itself, and the cases on it.
    Test(test::Options),
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        Command::Setup(options) => options.run(),
        Command::Bench(options) => options.run(),
        Command::Build => build::guest_programs(),
        Command::Machine(options) => options.run(),
        Command::Demo(options) => options.run(),
        Command::Fuzz(options) => options.run(),
        Command::Test(options) => options.run(),
    }
}
