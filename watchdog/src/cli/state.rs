//! The state that `run` stores, and that `scan` and `baseline` read.

use crate::config::Config;
use watchdog_core::verify::BaselineStore;

/// The baselines that a configuration names.
pub(super) fn store(config: &Config) -> BaselineStore {
    let key = config.baseline_key.as_ref().map(|key| key.public().clone());
    BaselineStore::in_state_dir(&config.state_dir, key)
}
