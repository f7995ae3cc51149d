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
        "the guard is not armed: {0}. Repair that, or run with --degraded to continue without \
         these denials"
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
    #[error("the watch cannot continue: {0}")]
    Broken(#[source] SweepError),
    /// The thread that sweeps panicked.
    #[error("the sweeper thread died. This is a bug in watchdog; please report it")]
    SweeperDied,
    /// No event was delivered in this time.
    #[error(
        "the journal, or another destination of events, accepted nothing for {0:?}. A \
         watchdog that cannot report puts no guard in force. Check that journald runs (systemctl \
         status systemd-journald.socket), and that no policy confines the watchdog (AppArmor, \
         Landlock)"
    )]
    Unheard(Duration),
    /// The role of an earlier guard remains.
    #[error(
        "no guard was armed, and the watchdog cannot give up the role that an earlier guard trusts"
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
        matches!(self, Self::Broken(_) | Self::SweeperDied | Self::Unheard(_))
    }
}
