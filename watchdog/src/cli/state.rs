//! Where `run` keeps its state, and where `scan` and `baseline` read it.

use std::path::Path;

use crate::config::Config;
use watchdog_core::verify::BaselineStore;

/// Where state is kept when nothing else is said.
pub(super) const STATE_DIR: &str = "/var/lib/watchdog";

/// The baselines that a configuration names.
pub(super) fn store(config: &Config) -> BaselineStore {
    let state = config.state_dir.as_deref().unwrap_or(Path::new(STATE_DIR));
    let key = config.baseline_key.as_ref().map(|key| key.public().clone());
    BaselineStore::in_state_dir(state, key)
}
