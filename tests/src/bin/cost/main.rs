//! `cost`: measures system calls that have nothing to do with protected memory, and work that
//! consists of such calls. Prints one JSON line.
//!
//! Times are processor time of this thread or of the work: other processes on the machine do not
//! count. For work, the elapsed time is printed too.

mod audit;
mod calls;
mod work;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measure, or say how the audit system is to be while others measure.
#[derive(Parser)]
#[command(arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Nanoseconds a call, the median of many batches: the calls take turns.
    Calls {
        /// Batches of each call.
        #[arg(long, default_value_t = 61)]
        batches: usize,
        /// Calls of a batch.
        #[arg(long, default_value_t = 256)]
        size: u32,
        /// The least of the batches in place of the median.
        #[arg(long)]
        least: bool,
    },
    /// Milliseconds of a command and its children: of the processor, and by the clock.
    Work {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Audit no process that begins from now on: as on a machine that audits nothing.
    NoAudit,
    /// Audit writes and attributes of `/dev/mem`, as `auditctl -w /dev/mem -p wa` does.
    Audit,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().act {
        Act::Calls { batches, size, least } => calls::measure(batches, size, least).map(Some),
        Act::Work { command } => work::measure(&command).map(Some),
        Act::NoAudit => nothing(audit::no_process()),
        Act::Audit => nothing(audit::dev_mem()),
    };
    match done {
        Ok(measured) => {
            measured.iter().for_each(|measured| println!("{measured}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn nothing(done: Result<()>) -> Result<Option<serde_json::Value>> {
    done.map(|()| None)
}
