//! Why the watch did not start, or ended.

use std::io;
use std::time::Duration;

use watchdog_core::memory::{MapError, ReadError};
use watchdog_core::verify::{BaselineError, StoreError};
use watchdog_guard::GuardError;

/// Why sweeping cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A baseline could not be loaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No baseline could be learned.
    #[error(transparent)]
    Learn(#[from] BaselineError),
}

/// Why the watch did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The guard could not be loaded.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The guard is not whole.
    #[error(
        "the guard is not armed: {0}. Fix the cause, or run with --degraded to continue with an \
         incomplete guard"
    )]
    NotArmed(String),
    /// This kernel owns the memory.
    #[error("{0}")]
    InUse(String),
    /// The memory map cannot be read.
    #[error(transparent)]
    Map(#[from] MapError),
    /// There is nothing to watch.
    #[error("{0}")]
    NoNode(String),
    /// Memory could not be searched.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The first sweep failed.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// A later sweep failed.
    #[error("the watchdog cannot continue")]
    Broken(#[source] SweepError),
    /// The thread that sweeps panicked.
    #[error(
        "the thread that sweeps the nodes ended, so the watchdog cannot continue. This is a bug in \
         watchdog; please report it, and start the watchdog again"
    )]
    SweeperDied,
    /// No event was delivered in this time.
    #[error(
        "the journal, or another destination of events, accepted no event for {0:?}, so no new \
         guard was put in force. Check that journald runs (systemctl status \
         systemd-journald.socket), and that no policy confines the watchdog (AppArmor, Landlock)"
    )]
    Undelivered(Duration),
    /// The role of an earlier guard remains.
    #[error(
        "no guard was armed, so the watchdog must give up the trust of any earlier guard, and \
         cannot: the kernel accepted no seccomp filter. Run the watchdog on a kernel with \
         CONFIG_SECCOMP_FILTER"
    )]
    Role(#[source] io::Error),
    /// No signal handler could be installed.
    #[error("cannot listen for signals")]
    Signal(#[source] io::Error),
}

impl WatchError {
    /// Whether the watch had begun, so that another try may succeed.
    #[must_use]
    pub fn had_begun(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::SweeperDied | Self::Undelivered(_))
    }
}
