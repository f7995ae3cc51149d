//! Commands, options and their help.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::allowed::Allowed;
use super::guard_args::GuardCommand;
use super::memory_args::{MemoryArgs, PlaceArgs};
use crate::config;
use crate::node::NodeName;
use watchdog_guard::{Preset, WritePath};

/// Integrity watchdog for machines that run several Linux kernels side by side
///
/// Finds the kernel text of every other OS node in physical memory, verifies it continuously, and
/// stops node 0's own writes into the memory of the other nodes.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 80)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Explain each decision on standard error
    ///
    /// How an image was read, which signs of kernels were found, which witness failed at which
    /// check, what a text is judged by, which program is attached where. This is the same as
    /// WATCHDOG_LOG=debug. If WATCHDOG_LOG is set, it takes precedence.
    #[arg(long, short = 'v', global = true)]
    pub debug: bool,
}

/// Whether a word of the command line is [`Cli::debug`], which may stand before the command too.
#[must_use]
pub fn is_debug(word: &OsStr) -> bool {
    word == "-v" || word == "--debug"
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch until stopped: arm the guard, sweep, alert
    #[command(after_help = RUN_HELP, after_long_help = run_help())]
    Run(RunArgs),
    /// Sweep every node once, then exit
    #[command(after_help = SCAN_HELP)]
    Scan(ScanArgs),
    /// Show where each node's kernel text is, and which witnesses say so
    #[command(after_help = LOCATE_HELP)]
    Locate(LocateArgs),
    /// Make or check baselines: what a node's kernel text should be
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Show, test or take down the guard, which stays in force without `run`
    #[command(subcommand)]
    Guard(GuardCommand),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(ManArgs),
}

const RUN_HELP: &str = "\
Examples:
  sudo watchdog run
  sudo watchdog run --node web=0x38000000..0x50000000 --period 500ms

Ctrl-C ends it. `systemctl stop integrity-watchdog` ends the service.
While the guard is armed, it denies signals from other processes, so `kill`
and `timeout` do not end the watchdog.

The guard stays in force when the watchdog ends. `watchdog guard disarm` takes
it down.

The watchdog uses the files and the journal of process 1, whatever is mounted
in the namespace in which it is started.

Exit status: 0 if ended by SIGTERM or SIGINT; 2 if it could not start; 3 if it
cannot continue, or if the journal accepts no events (another try may succeed).";

/// The examples, and what the guard does about each path.
fn run_help() -> String {
    let mut help = format!(
        "{RUN_HELP}\n\nPaths to another node's memory, and what the presets of the guard do about\n\
         them. `observe` reports what `standard` would stop, and stops nothing:\n  \
         {:<19}{:<10}{:<10}",
        "path", "standard", "strict"
    );
    for path in WritePath::ALL {
        let [standard, strict] = [Preset::Standard, Preset::Strict].map(|it| path.preset(it));
        help += &format!("\n  {path:<19}{standard:<10}{strict:<10}{}", path.summary());
    }
    help
}

const SCAN_HELP: &str = "\
Examples:
  sudo watchdog scan
  watchdog scan --memory raw:ram.img --image /boot/vmlinuz-6.12.118

Exit status: 0 if every node is clean or patched; 1 if a node is tampered, or
is instrumented and this is not allowed (--allow, or `allow` in the
configuration); 2 if a node is lost, unverified or booting, if its clocks do not
advance, if a site is not judged and --complete is given, if there is no node,
or if the command could not run.";

const LOCATE_HELP: &str = "\
Examples:
  sudo watchdog locate
  watchdog locate --memory raw:node1.img@0x38000000 --json
  watchdog locate --memory elf:vmcore --image /boot/vmlinuz-6.12.118

Exit status: 0 if every kernel is located; 1 if a text is writable or open to
user mode, or if other memory is executable; 2 if a kernel is lost or booting,
if there is none, or if the command could not run.";

/// `watchdog run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Memory, nodes, configuration.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Time from one sweep to the next: 500ms, 1s, 2m [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = config::parse_period)]
    pub period: Option<Duration>,
    /// Start although a node has no kernel yet
    ///
    /// Use it when this machine boots and starts the other nodes later. The guard is armed, and
    /// each node is watched as soon as its kernel is found. Under the guard, a node's loader needs
    /// a lease (`watchdog guard lease`). Without this option, the watchdog takes a missing kernel
    /// for a mistake in the ranges and refuses to run.
    #[arg(long)]
    pub wait: bool,
    /// Start although the guard is incomplete
    ///
    /// Each path that is not covered is reported when the watchdog starts. Without this option,
    /// the watchdog refuses to run with an incomplete guard. If `bpf` is not an active LSM, nothing
    /// can be denied by range. Every open of /dev/mem for writing and of /dev/port is then denied.
    #[arg(long)]
    pub degraded: bool,
}

/// `watchdog scan`.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Memory, nodes, configuration.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// List every difference, also those that the kernel's own tables explain
    ///
    /// By default, tracers and probes have one line each, and the first 20 unexplained differences
    /// of each node are shown.
    #[arg(long)]
    pub verbose: bool,
    /// What counts as good for the exit status: `instrumented`, or one cause of it; repeatable
    ///
    /// `instrumented` stands for all tracers, probes, BPF programs and live patches that the kernel
    /// knows of. `instrumented:MECHANISM:NAME` stands for the one that `scan` shows by these words.
    /// The configuration can do the same for each node (`allow`).
    #[arg(long, value_name = "VERDICT")]
    pub allow: Vec<Allowed>,
    /// Require that every site can be judged
    ///
    /// A kernel may have patch tables that this version does not know, or may not describe the
    /// structures that a rule needs. Such sites are listed as `NOT judged`, and change no verdict.
    /// With this option, the exit status is then 2.
    #[arg(long)]
    pub complete: bool,
}

/// `watchdog baseline`.
#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Make a node's baseline from the vendor's image of its kernel
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Check that each node's baseline is whole and signed, and show what it was made from
    ///
    /// A signature is required if the configuration has a `baseline_key`.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Show what can be judged and guarded of a kernel, from its image alone
    ///
    /// Nothing is stored. The guard is the one of the preset `strict`, if this kernel were node
    /// 0's: a kernel's verifier may still refuse a program.
    #[command(after_help = PREVIEW_HELP)]
    Preview(PreviewArgs),
}

const IMPORT_HELP: &str = "\
Examples:
  sudo watchdog baseline import --node service-1 --image /boot/vmlinuz-6.12.118
  minisign -Sm /var/lib/watchdog/baselines/service-1.baseline

The second command signs it. `baseline_key` in the configuration requires that.

Exit status: 0 if every baseline was made; 2 if not.";

const CHECK_HELP: &str = "\
Exit status: 0 if every baseline is good; 2 if one is not, or if there is none.";

const PREVIEW_HELP: &str = "\
Examples:
  watchdog baseline preview --image /boot/vmlinuz-6.12.118

Exit status: 0 if every image can be a baseline; 2 if one cannot.";

/// `watchdog baseline import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The node that the baseline is for; repeatable
    #[arg(long = "node", value_name = "NAME", required = true)]
    pub nodes: Vec<NodeName>,
    /// The bzImage that the node boots (/boot/vmlinuz-…), or its vmlinux
    #[arg(long, value_name = "FILE")]
    pub image: PathBuf,
    /// Where, and by which configuration.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `watchdog baseline check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Only this node's baseline; repeatable [default: every node's]
    #[arg(long = "node", value_name = "NAME")]
    pub nodes: Vec<NodeName>,
    /// Where, and by which configuration.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `watchdog baseline preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// The bzImage that a node boots (/boot/vmlinuz-…), or its vmlinux; repeatable
    #[arg(long = "image", value_name = "FILE", required = true)]
    pub images: Vec<PathBuf>,
    /// Print one JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// `watchdog locate`.
#[derive(Debug, Args)]
pub struct LocateArgs {
    /// Memory, nodes, configuration.
    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// `watchdog man`, for packagers.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder; it must exist.
    pub directory: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Check that `-v` is the log's at every command, before it and behind it, and that `scan
    /// --verbose` is not.
    #[test]
    fn debug() {
        for words in [
            &["watchdog", "-v", "run"][..],
            &["watchdog", "scan", "-v"],
            &["watchdog", "guard", "status", "--debug"],
            &["watchdog", "--debug", "baseline", "check"],
        ] {
            assert!(Cli::try_parse_from(words).unwrap().debug, "{words:?}");
            assert_eq!(words.iter().filter(|word| is_debug(OsStr::new(word))).count(), 1);
        }
        let cli = Cli::try_parse_from(["watchdog", "scan", "--verbose"]).unwrap();
        assert!(!cli.debug && matches!(cli.command, Command::Scan(args) if args.verbose));
        assert!(!is_debug(OsStr::new("--verbose")));
    }

    /// Check that the definition is sound (clap's own rules), and that help stays readable at 80
    /// columns.
    #[test]
    fn definition() {
        Cli::command().debug_assert();
        let mut cli = Cli::command();
        cli.build();
        for mut command in cli.get_subcommands().cloned() {
            for line in command.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
