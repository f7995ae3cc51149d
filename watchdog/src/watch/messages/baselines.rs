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
            "The baseline of node {name} was learned from its current text (trusted on first \
             use): SHA-256 {}, stored in {file}",
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
            "The baseline of node {name} was learned from its current text (trusted on first use, \
             SHA-256 {}) but could not be stored: {why}. This watchdog judges the node by it. The \
             next watchdog would trust the text again. Make room; storing is tried again every \
             {again:?}",
            baseline.origin.sha256
        ),
    );
    of_text(&mut event, name, kernel);
    event
}
