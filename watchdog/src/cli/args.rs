//! Commands, options and their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};
use crate::memory::MemorySource;
use crate::node::NodeSpec;

/// Integrity watchdog for machines that run several Linux kernels side by side
///
/// Finds the kernel text of every other OS node in physical memory, checks it again and again,
/// and stops this node's own writes into the other nodes' memory.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 80)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch until stopped: arm the guard, sweep, alert
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Sweep every node once, then exit
    #[command(after_help = SCAN_HELP)]
    Scan(ScanArgs),
    /// Say where each node's kernel text is, and who says so
    #[command(after_help = LOCATE_HELP)]
    Locate(LocateArgs),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(ManArgs),
}

const RUN_HELP: &str = "\
Examples:
  sudo watchdog run
  sudo watchdog run --node web=0x38000000..0x50000000 --period 500ms

Exit status: 0 when ended by SIGTERM or SIGINT; 2 when it could not start.";

const SCAN_HELP: &str = "\
Examples:
  sudo watchdog scan
  watchdog scan --memory raw:ram.img --node 0x38000000..0x50000000

Exit status: 0 all clean; 1 a node is tampered with; 2 a node is lost,
unverified or booting, there is no node, or the command could not run.";

const LOCATE_HELP: &str = "\
Examples:
  sudo watchdog locate
  watchdog locate --memory raw:node1.img@0x38000000 --json

Exit status: 0 every kernel located; 1 a located text is mapped writable;
2 a kernel is lost or booting, there is none, or the command could not run.";

/// `watchdog run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Memory, nodes, configuration.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Time from one sweep to the next: 500ms, 1s, 2m [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = config::parse_period)]
    pub period: Option<Duration>,
    /// Go on although a path of the guard does not deny what it should
    ///
    /// Each path that does not is reported when the watchdog starts. Without this option the
    /// watchdog refuses to run with an incomplete guard.
    #[arg(long)]
    pub degraded: bool,
}

/// `watchdog scan`.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Memory, nodes, configuration.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// List every difference (otherwise the first 20 of each node)
    #[arg(long, short)]
    pub verbose: bool,
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

/// Options of every command that reads memory.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// Where physical memory is read: devmem, or raw:FILE[@PHYS] [default: devmem]
    ///
    /// FILE is a raw image or a virtual machine's live RAM file; PHYS is the physical address of
    /// its first byte (default 0).
    #[arg(long, value_name = "SOURCE")]
    pub memory: Option<MemorySource>,
    /// A node's physical memory; repeat for more nodes [default: discovered]
    ///
    /// END is exclusive; a node may have several ranges. Without any --node an image is one
    /// node, and on a live machine every kernel in memory that the firmware calls RAM and this
    /// kernel does not use is a node.
    #[arg(long = "node", value_name = "[NAME=]START..END[,…]")]
    pub nodes: Vec<NodeSpec>,
    /// Configuration file [default: /etc/watchdog/watchdog.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where baselines are kept [default: /var/lib/watchdog]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// One JSON object a line on standard output
    #[arg(long)]
    pub json: bool,
}

impl MemoryArgs {
    /// The configuration, overridden by what the command line says.
    ///
    /// # Errors
    /// When the configuration cannot be read or is wrong.
    pub(super) fn config(&self) -> Result<Config, config::ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        config.memory = self.memory.clone().or(config.memory);
        config.state_dir = self.state_dir.clone().or(config.state_dir);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

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
