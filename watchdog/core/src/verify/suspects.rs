//! What nothing explains, and for how long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::judge::Wrong;

/// How long a place must have been wrong, at every look, to be said to be.
const STAND: Duration = Duration::from_millis(200);

/// Places that nothing explained, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects(BTreeMap<u32, Instant>);

impl Suspects {
    /// Takes note of what is wrong at this look; what is not any more is forgotten.
    pub(super) fn see(&mut self, wrong: &[Wrong]) {
        let before = std::mem::take(&mut self.0);
        let now = Instant::now();
        let since = |at: u32| before.get(&at).copied().unwrap_or(now);
        self.0 = wrong.iter().map(|wrong| (wrong.at, since(wrong.at))).collect();
    }

    /// Whether a place was wrong at every look for so long that no patching explains it.
    pub(super) fn stand(&self, wrong: &Wrong) -> bool {
        self.0.get(&wrong.at).is_some_and(|since| since.elapsed() >= STAND)
    }
}
