//! `watchdog run`.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;

use super::Status;
use super::args::RunArgs;
use super::progress::Progress;
use crate::alert::Outlet;
use crate::config::DEFAULT_PATH;
use crate::watch::{ReportedAttempts, WatchOptions, watch};
use watchdog_core::memory::MemorySource;
use watchdog_core::text::chain;
use watchdog_guard::enter_first_mounts;

/// Watches until stopped.
pub(super) fn execute(args: RunArgs) -> anyhow::Result<Status> {
    if args.memory.memory.as_ref().is_none_or(MemorySource::is_of_machine) {
        // This comes before any file is opened. It fails without privilege or in a container. The
        // guard then fails too, and its error gives the reason.
        enter_first_mounts().unwrap_or_else(|error| {
            log::debug!("the mounts of process 1 were not entered: {error}");
        });
    }
    let config = args.memory.config()?;
    let target = args.memory.target(&config)?;
    let options = WatchOptions {
        period: args.period.unwrap_or(config.period),
        degraded: args.degraded,
        wait: args.wait,
        boot_limit: config.booting,
        state_dir: config.state_dir,
        baseline_key: config.baseline_key,
        policies: config.guard.policies,
        release: config.guard.release,
        writable: config.guard.dev_mem_writable,
        processors: config.guard.processors,
        config: args.memory.place.config.clone().unwrap_or_else(|| DEFAULT_PATH.into()),
    };
    if target.guarded.is_some() && io::stderr().is_terminal() {
        // The user should learn how to stop the watch before the guard denies `kill`.
        writeln!(
            io::stderr(),
            "Press Ctrl-C here to stop watching. Once the guard is armed, it denies the signals of \
             `kill` and `timeout`."
        )?;
    }
    let (outlet, receipts) = Outlet::for_this_process(args.memory.place.json);
    let mut reported = ReportedAttempts::new(receipts);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let watching = watch(target, options, &outlet, &mut reported, |target, stop, goes_on| {
        let mut progress = Progress::new();
        target.find(stop, &mut |done, total| {
            goes_on(done, total);
            progress.update(done, total);
        })
    });
    let ended = runtime.block_on(watching);
    outlet.close();
    reported.count_rest();
    match ended {
        Err(error) if error.had_begun() => {
            log::error!("{}", chain(&error));
            Ok(Status::Broken)
        }
        ended => Ok(ended.map(|()| Status::Good)?),
    }
}
