//! Why the watch cannot go on.

use watchdog_core::verify::{BaselineError, StoreError};

/// Why the watch cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A baseline could not be loaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No baseline could be learned.
    #[error(transparent)]
    Learn(#[from] BaselineError),
}
