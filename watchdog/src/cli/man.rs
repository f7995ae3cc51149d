//! `watchdog man`: the manual pages, from the same definition as `--help`.

use anyhow::Context;
use clap::CommandFactory;

use super::Status;
use super::args::{Cli, ManArgs};

/// Writes a page for the command and one for each subcommand.
pub(super) fn execute(args: &ManArgs) -> anyhow::Result<Status> {
    clap_mangen::generate_to(Cli::command(), &args.directory)
        .with_context(|| format!("cannot write manual pages to {}", args.directory.display()))?;
    Ok(Status::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the command and each of its visible subcommands has a page, with its options.
    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        execute(&ManArgs { directory: directory.path().to_owned() }).unwrap();
        for (page, word) in [
            ("watchdog.1", "scan"),
            ("watchdog-run.1", "degraded"),
            ("watchdog-scan.1", "verbose"),
            ("watchdog-locate.1", "memory"),
        ] {
            let text = std::fs::read_to_string(directory.path().join(page)).unwrap();
            assert!(text.contains(word), "{page}: {text}");
        }
    }
}
