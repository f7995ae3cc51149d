//! A request to stop a search, from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::memory::ReadError;

/// A request to stop a search. Clones share it. The search checks it before each chunk of memory
/// and each sign.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether anyone asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on unless anyone asked to stop.
    ///
    /// # Errors
    /// [`ReadError::Stopped`].
    pub fn check(&self) -> Result<(), ReadError> {
        if self.is_asked() { Err(ReadError::Stopped) } else { Ok(()) }
    }
}
