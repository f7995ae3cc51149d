//! The `watchdog` command: parses, dispatches, sets the exit status.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{self, ExitCode};

use anyhow::Context;
use clap::Parser;
use watchdog::cli::{Cli, LOG_VARIABLE, Status, execute, is_debug, usual_log};
use watchdog::signals;
use watchdog_core::text::visible;
use watchdog_guard::role;

fn main() -> ExitCode {
    // This comes before the parser, because giving up the role is logged as well.
    let usual = usual_log(env::args_os().any(|word| is_debug(&word)));
    env_logger::Builder::from_env(env_logger::Env::new().filter_or(LOG_VARIABLE, usual))
        .format(|out, record| {
            let style = out.default_level_style(record.level());
            let (level, said) = (record.level(), record.args().to_string());
            writeln!(out, "[{style}{level:<5}{style:#} {}] {}", record.target(), visible(&said))
        })
        .init();
    match begin() {
        Ok(status) => status.into(),
        Err(error) => {
            // A name from a configuration or an argument may contain any character.
            complain(&format!("watchdog: {error:#}"));
            Status::Undecided.into()
        }
    }
}

/// Gives up the trusted role if the command does not need it, then runs the command.
fn begin() -> anyhow::Result<Status> {
    let command = env::args_os().skip(1).find(|word| !is_debug(word));
    signals::settle(command.as_deref()).context("cannot set up signal handling")?;
    if !role::is_needed_by(command.as_deref()) {
        role::give_up().context(
            "cannot give up the role that the guard trusts: the kernel accepts no seccomp filter. \
             Run this command without root's rights, or on a kernel with CONFIG_SECCOMP_FILTER",
        )?;
    }
    execute(parse())
}

/// Parses the command line. The parser's error repeats the arguments, so control characters in them
/// are made visible.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        let is_hostile =
            |word: OsString| visible(&word.to_string_lossy()) != word.to_string_lossy();
        if error.use_stderr() && env::args_os().any(is_hostile) {
            complain(error.render().to_string().trim_end());
            process::exit(error.exit_code());
        }
        error.exit()
    })
}

/// Writes to standard error, and ignores an error of that.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(text));
}
