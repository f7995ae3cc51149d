//! The commands of `watchdog guard`, their options and help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::node::NodeName;
use watchdog_guard::LONGEST_LEASE;

/// `watchdog guard`.
#[derive(Debug, Subcommand)]
pub enum GuardCommand {
    /// Show what is guarded, by which policies, and what was seen to work
    #[command(after_help = STATUS_HELP)]
    Status(TellArgs),
    /// Try every path on decoys now, on the guard in force
    #[command(after_help = SELF_TEST_HELP)]
    SelfTest(TellArgs),
    /// Take the guard down, so that this node can write to the others' memory
    #[command(after_help = DISARM_HELP)]
    Disarm(DisarmArgs),
    /// Let the loader of a node write its memory for some time
    #[command(after_help = LEASE_HELP)]
    Lease(LeaseArgs),
    /// Make the configuration's line for a secret that disarms
    Secret,
}

const STATUS_HELP: &str = "\
Exit status: 0 the guard is in force, whole and watched; 1 a path is not
covered, or no watchdog runs; 2 no guard is in force, or it cannot be read.";

const SELF_TEST_HELP: &str = "\
Exit status: 0 every path is dealt with as its policy says; 1 one is not; 2 no
guard is in force, or it cannot be tried.";

const DISARM_HELP: &str = "\
Who may do it was configured before the guard was armed, under [guard]:
  disarm = \"console\"    root on a virtual terminal or serial line (the default)
  disarm = \"root\"       root, from anywhere
  disarm_secret = \"…\"   who knows the secret (`watchdog guard secret`)
  sealed = true         nobody: the guard stays until the machine restarts

The watchdog must be stopped first (systemctl stop integrity-watchdog).

Exit status: 0 it is down; 2 it is not.";

const LEASE_HELP: &str = "\
The executable may write the ranges of the node, and the local APIC, by which
processors are started, from the moment the command returns until the time is
over. Only who starts it in that time may, not who runs it already; not its
children, and not under a tracer. Meanwhile nobody may write the executable.
Afterwards processes that still have the memory mapped are killed, and the node
is located and judged anew.

Who may do it is who may take the guard down (`watchdog guard disarm --help`);
under a sealed guard that is nobody. The watchdog must run.

Example: sudo watchdog guard lease --node mint-2 --for 30s --exe /sbin/loader

Exit status: 0 the lease is in force, or ended; 2 it is not.";

/// How something is told.
#[derive(Debug, Args)]
pub struct TellArgs {
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// `watchdog guard disarm`.
#[derive(Debug, Args)]
pub struct DisarmArgs {
    /// Where the secret is read, if one is configured [default: asked for]
    ///
    /// A regular file, or a pipe; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

/// `watchdog guard lease`.
#[derive(Debug, Args)]
pub struct LeaseArgs {
    /// The node, as the watchdog names it; one whose ranges are configured
    #[arg(long, value_name = "NAME", required_unless_present = "end")]
    pub node: Option<NodeName>,
    /// For how long, up to an hour: 30s, 5m
    #[arg(
        long = "for",
        value_name = "TIME",
        value_parser = lease_time,
        required_unless_present = "end"
    )]
    pub time: Option<Duration>,
    /// The executable that may write
    #[arg(long, value_name = "PATH", required_unless_present = "end")]
    pub exe: Option<PathBuf>,
    /// Where the secret is read, if one is configured [default: asked for]
    ///
    /// A regular file, or a pipe; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// End the lease in force, before its time
    #[arg(long, conflicts_with_all = ["node", "time", "exe", "secret_file"])]
    pub end: bool,
}

/// A time for which there may be a lease.
fn lease_time(text: &str) -> Result<Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok();
    time.and_then(|time| Duration::try_from(time).ok())
        .filter(|time| (Duration::from_secs(1)..=LONGEST_LEASE).contains(time))
        .ok_or_else(|| {
            format!("`{text}` is no time for a lease: write one from 1s to 1h, as in 30s")
        })
}
