//! The chores of the project: `cargo xtask --help`.

mod build;
mod fuzz;
mod lint;
mod machine;
mod setup;
mod steps;
mod survey;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use xtask::acts;
use xtask::options::{self, Command};

use crate::steps::Steps;

fn main() -> ExitCode {
    let command = match options::parse() {
        Ok(command) => command,
        Err(status) => return status,
    };
    let Err(error) = run(command) else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run(command: Command) -> Result<()> {
    let steps = Steps::begin();
    let steps = &steps;
    match command {
        Command::Setup(options) => steps.watch(|| setup::run(steps, &options)),
        Command::Kernels(options) => {
            steps.watch(|| setup::own_kernels(steps, &options.kernels, options.refresh))
        }
        Command::Survey(options) => survey::run(steps, &options),
        Command::Build => {
            steps.watch(|| setup::ensure(steps, setup::Needs::default(), || build::programs(steps)))
        }
        Command::Machine(options) => {
            let node_kernel = options.node_kernel.as_ref().unwrap_or(&options.kernel);
            machine::hand_over(steps, &[&options.kernel, node_kernel])
        }
        Command::Demo(options) if options.list => {
            acts::list();
            Ok(())
        }
        Command::Demo(options) => machine::hand_over(steps, &[&options.kernel]),
        Command::Bench(bench) => machine::hand_over(steps, &options::chosen(&bench.kernels)),
        Command::Fuzz(options) => fuzz::run(steps, &options),
        Command::Lint => steps.watch(|| lint::run(steps)),
        Command::Test(options) => test::run(steps, &options),
    }
}
