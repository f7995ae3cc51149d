//! Learned baselines that could not be stored, for example on a full disk. The node is judged by
//! its baseline in memory, and the watchdog regularly tries to store that.

use std::time::{Duration, Instant};

use super::messages;
use crate::alert::Event;
use crate::node::Node;
use watchdog_core::locate::Kernel;
use watchdog_core::text::chain;
use watchdog_core::verify::{Baseline, BaselineStore, StoreError};

/// The time from one try to the next.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// A baseline that is only in memory.
#[derive(Debug)]
pub(super) struct Unsaved {
    baseline: Baseline,
    tried: Instant,
}

impl Unsaved {
    /// Stores a baseline that was just learned, and reports it. Returns a baseline that cannot be
    /// stored.
    pub(super) fn unless_saved(
        store: &BaselineStore,
        node: &Node,
        kernel: &Kernel,
        baseline: &Baseline,
        report: &mut dyn FnMut(Event),
    ) -> Option<Self> {
        match save(store, node, kernel, baseline) {
            Ok(learned) => {
                report(learned);
                None
            }
            Err(error) => {
                report(messages::unsaved(node, kernel, baseline, &chain(&error), RETRY_INTERVAL));
                Some(Self { baseline: baseline.clone(), tried: Instant::now() })
            }
        }
    }

    /// Tries again to store the baseline if the last try is long enough ago. Returns the event that
    /// it was learned. A failure is only logged.
    pub(super) fn save_again(
        &mut self,
        store: &BaselineStore,
        node: &Node,
        kernel: &Kernel,
    ) -> Option<Event> {
        if self.tried.elapsed() < RETRY_INTERVAL {
            return None;
        }
        match save(store, node, kernel, &self.baseline) {
            Ok(learned) => Some(learned),
            Err(error) => {
                log::warn!("node {}: {}", node.name, chain(&error));
                self.tried = Instant::now();
                None
            }
        }
    }
}

/// Stores a baseline. Returns the event that it was learned.
fn save(
    store: &BaselineStore,
    node: &Node,
    kernel: &Kernel,
    baseline: &Baseline,
) -> Result<Event, StoreError> {
    store.save(node.name.as_str(), baseline)?;
    let file = store.path(node.name.as_str());
    Ok(messages::learned(node, kernel, baseline, &file.display().to_string()))
}
