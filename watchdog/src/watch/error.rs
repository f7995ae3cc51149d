//! Why the watch cannot go on.

use watchdog_core::memory::ReadError;
use watchdog_core::verify::{BaselineError, StoreError};

/// Why the watch cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A baseline could not be loaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Memory could not be read while looking for a kernel.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No baseline could be learned.
    #[error(transparent)]
    Learn(#[from] BaselineError),
}
