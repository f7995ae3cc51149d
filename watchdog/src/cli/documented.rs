//! Tests that compare the documents with the code: exit statuses, and values of `WATCHDOG_LOG`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use log::LevelFilter;

use super::args::Cli;
use super::log_level::{LOG_VARIABLE, usual_log};
use super::status::Status;
use crate::doc_table::{codes, rows};

/// The exit statuses in a command's help: the numbers before an `if`.
fn in_help(command: &clap::Command) -> BTreeSet<u8> {
    let name = command.get_name();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let statuses = help.split_once("Exit status: ").map(|(_, statuses)| statuses);
    let statuses = statuses.unwrap_or_else(|| panic!("{name} --help has no exit status"));
    let words: Vec<_> = statuses.split_whitespace().collect();
    let numbers = words.windows(2).filter(|pair| pair[1] == "if").map(|pair| pair[0].parse());
    numbers.filter_map(Result::ok).collect()
}

/// Visits every command in the help that has no subcommands.
fn each_command(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
    if !command.has_subcommands() {
        return visit(command);
    }
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.for_each(|below| each_command(below, visit));
}

/// Check that each table of exit statuses agrees with the help of each command, and that all
/// commands together have every [`Status`] and no other.
#[test]
fn exit_statuses() {
    let cli = Cli::command();
    let guard = cli.find_subcommand("guard").unwrap();
    let readme = include_str!("../../../README.md");
    let page = include_str!("../../../docs/guard.md");
    for (document, command, columns) in [
        (readme, &cli, &["exit status", "`scan`", "`locate`", "`run`"][..]),
        (page, guard, &["exit status", "`status`", "`self-test`"]),
    ] {
        let rows = rows(document, columns);
        for (n, column) in columns.iter().enumerate().skip(1) {
            let documented = rows.iter().filter(|row| !row[n].is_empty());
            let documented: BTreeSet<u8> = documented.map(|row| row[0].parse().unwrap()).collect();
            let command = command.find_subcommand(codes(column)[0]).unwrap();
            assert_eq!(documented, in_help(command), "{column}");
        }
    }
    let mut seen = BTreeSet::new();
    each_command(&cli, &mut |command| seen.extend(in_help(command)));
    let all = [Status::Good, Status::Tampered, Status::Undecided, Status::Broken];
    assert_eq!(seen, all.map(|status| status as u8).into());
}

/// Check that docs/diagnose.md names the variable, that the log accepts each value, and that each
/// module in a value exists.
#[test]
fn values_of_the_log_variable() {
    let document = include_str!("../../../docs/diagnose.md");
    let rows = rows(document, &[&format!("`{LOG_VARIABLE}=`"), "log"]);
    assert_eq!(codes(rows[0][0]), [usual_log(false)]);
    for value in rows.iter().map(|row| codes(row[0])[0]).chain([usual_log(true)]) {
        for part in value.split(',') {
            let (module, level) = part.split_once('=').unwrap_or(("watchdog", part));
            assert!(level.parse::<LevelFilter>().is_ok(), "{value}");
            assert!(folder(module).is_dir(), "{value}");
        }
    }
}

/// The sources of a module of `watchdog` or `watchdog_core`.
fn folder(module: &str) -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = module.split("::");
    let source = match names.next() {
        Some("watchdog_core") => crates.join("core/src"),
        Some("watchdog") => crates.join("src"),
        other => panic!("no crate {other:?}"),
    };
    names.fold(source, |folder, name| folder.join(name))
}
