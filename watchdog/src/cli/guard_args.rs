//! The commands of `watchdog guard`, their options and help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::node::NodeName;
use watchdog_guard::LONGEST_LEASE;

/// `watchdog guard`.
#[derive(Debug, Subcommand)]
pub enum GuardCommand {
    /// Show what is guarded, by which policies, and which tests passed
    #[command(after_help = STATUS_HELP)]
    Status(OutputArgs),
    /// Test every path of the guard in force now
    #[command(after_help = SELF_TEST_HELP)]
    SelfTest(OutputArgs),
    /// Take the guard down, so that this node can write to the others' memory
    #[command(after_help = DISARM_HELP)]
    Disarm(DisarmArgs),
    /// Let the loader of a node write its memory for some time
    #[command(after_help = LEASE_HELP)]
    Lease(LeaseArgs),
    /// Print the configuration line for a secret that takes the guard down
    #[command(after_help = SECRET_HELP)]
    Secret,
}

const STATUS_HELP: &str = "\
Exit status: 0 if the guard is in force, whole and watched; 1 if a path is not
covered or no watchdog runs; 2 if no guard is in force or it cannot be read.";

const SELF_TEST_HELP: &str = "\
Exit status: 0 if every path does what its policy says; 1 if one does not; 2 if
no guard is in force or it cannot be tested.";

const DISARM_HELP: &str = "\
Who may do it was configured under [guard] before the guard was armed:
  disarm = \"console\"      root on a virtual terminal or serial line (default)
  disarm = \"root\"         root, from anywhere
  disarm = \"$argon2id$…\"  root with the secret (`watchdog guard secret`)
  disarm = \"never\"        no one: the guard stays until the machine restarts

Stop the watchdog first (systemctl stop integrity-watchdog).

Exit status: 0 if the guard is down; 2 if it is not.";

const LEASE_HELP: &str = "\
The lease begins when the command returns. Until it ends, the executable may
write the ranges of the node and the local APIC, which starts processors. This
holds only for processes that start the executable during the lease, without a
tracer, and not for their children. No process may write the executable during
the lease. When the lease ends, processes that still have the memory mapped are
killed. The node is then located and judged again.

A lease needs the same permission as taking the guard down (`watchdog guard
disarm --help`). With `disarm = \"never\"`, there is no lease. The watchdog must
be running.

Example: sudo watchdog guard lease --node mint-2 --for 30s --exe /sbin/loader

Exit status: 0 if the lease is in force, or has ended with --end; 2 if not.";

const SECRET_HELP: &str = "\
Exit status: 0 if the line was printed; 2 if not.";

/// How the result is printed.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// `watchdog guard disarm`.
#[derive(Debug, Args)]
pub struct DisarmArgs {
    /// The file that holds the secret, if one is configured [default: prompt]
    ///
    /// It may be a regular file or a pipe. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// `watchdog guard lease`.
#[derive(Debug, Args)]
pub struct LeaseArgs {
    /// The node; its ranges must be in the configuration
    #[arg(long, value_name = "NAME", required_unless_present = "end")]
    pub node: Option<NodeName>,
    /// How long the lease lasts, up to an hour: 30s, 5m
    #[arg(
        long = "for",
        value_name = "TIME",
        value_parser = lease_time,
        required_unless_present = "end"
    )]
    pub time: Option<Duration>,
    /// The executable that may write the node's memory
    #[arg(long, value_name = "PATH", required_unless_present = "end")]
    pub exe: Option<PathBuf>,
    /// The file that holds the secret, if one is configured [default: prompt]
    ///
    /// It may be a regular file or a pipe. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// End the lease in force early
    #[arg(long, conflicts_with_all = ["node", "time", "exe", "secret_file"])]
    pub end: bool,
}

/// A time for which there may be a lease.
fn lease_time(text: &str) -> Result<Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok();
    time.and_then(|time| Duration::try_from(time).ok())
        .filter(|time| (Duration::from_secs(1)..=LONGEST_LEASE).contains(time))
        .ok_or_else(|| {
            format!("invalid time for a lease `{text}`: write one from 1s to 1h, as in 30s")
        })
}
