//! Events about learned baselines.

use std::time::Duration;

use super::kernel::of_text;
use crate::alert::{Event, EventKind};
use crate::node::Node;
use watchdog_core::locate::Kernel;
use watchdog_core::verify::Baseline;

/// A baseline was learned.
pub(in crate::watch) fn learned(
    node: &Node,
    kernel: &Kernel,
    baseline: &Baseline,
    file: &str,
) -> Event {
    let name = &node.name;
    let mut event = Event::new(
        EventKind::BaselineLearned,
        format!(
            "The watchdog learned the baseline of node {name} from the node's running kernel text \
             (trusted on first use): SHA-256 {}, stored in {file}. This baseline does not reveal \
             earlier changes; the vendor's image (--image) does",
            baseline.origin.sha256
        ),
    );
    of_text(&mut event, name, kernel);
    event
}

/// A baseline was learned and could not be stored.
pub(in crate::watch) fn unsaved(
    node: &Node,
    kernel: &Kernel,
    baseline: &Baseline,
    why: &str,
    again: Duration,
) -> Event {
    let name = &node.name;
    let mut event = Event::new(
        EventKind::GuardDegraded,
        format!(
            "The watchdog learned the baseline of node {name} from the node's running kernel text \
             (trusted on first use, SHA-256 {}), but the baseline could not be stored: {why}. The \
             watchdog judges the node by the copy in memory. After a restart, the watchdog would \
             learn again, and trust any change made until then. Fix the cause, for example free \
             disk space; the watchdog tries again every {again:?}",
            baseline.origin.sha256
        ),
    );
    of_text(&mut event, name, kernel);
    event
}
