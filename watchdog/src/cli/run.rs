//! `watchdog run`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::Status;
use super::args::RunArgs;
use super::progress::Progress;
use super::scan::STATE_DIR;
use crate::alert::Outlet;
use crate::node::Target;
use crate::watch::{WatchOptions, watch};

/// Time from one sweep to the next when nothing else is said.
const PERIOD: Duration = Duration::from_secs(1);

/// Watches until stopped.
pub(super) fn execute(args: RunArgs) -> anyhow::Result<Status> {
    let config = args.memory.config()?;
    let target = Target::open(&config, &args.memory.nodes)?;
    let options = WatchOptions {
        period: args.period.or(config.period).unwrap_or(PERIOD),
        degraded: args.degraded,
        state_dir: config.state_dir.clone().unwrap_or_else(|| PathBuf::from(STATE_DIR)),
        open: config.guard.open,
    };
    let outlet = Outlet::for_this_process(args.memory.json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let ended = runtime.block_on(watch(target, options, &outlet, |target| {
        let mut progress = Progress::new();
        target.nodes.find(&*target.memory, &mut |done, total| progress.update(done, total))
    }));
    outlet.close();
    ended?;
    Ok(Status::Good)
}
