//! `watchdog man`: the manual pages, from the same definition as `--help`.

use std::io::{self, Write};

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use super::Status;
use super::args::{Cli, ManArgs};
use watchdog_core::files;

/// The mode of a page: every user may read it.
const MODE: u32 = 0o644;

/// Writes a page for the command and one for each subcommand. Each page is a new file, which
/// replaces a link of the same name.
pub(super) fn execute(args: &ManArgs) -> anyhow::Result<Status> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    render(&command, &mut pages)?;
    for (name, page) in pages {
        let path = args.directory.join(name);
        files::replace(&path, MODE, |file| file.write_all(&page))
            .with_context(|| format!("cannot write the manual page {}", path.display()))?;
    }
    Ok(Status::Good)
}

/// The pages of a command and of all its subcommands: name and content.
fn render(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        render(below, pages)?;
    }
    let page = Man::new(command.clone());
    let mut content = Vec::new();
    page.render(&mut content)?;
    pages.push((page.get_filename(), content));
    Ok(())
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
