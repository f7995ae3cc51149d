//! Events about how a node's page tables map its kernel text.

use super::kernel::of_text;
use crate::alert::{Event, EventKind};
use crate::node::NodeName;
use watchdog_core::locate::Kernel;
use watchdog_core::verify::Verdict;

/// A finding about the mapping of the text.
pub(in crate::watch) fn mapping(node: &NodeName, kernel: &Kernel, finding: &str) -> Event {
    let mut event = Event::new(
        EventKind::TextTampered,
        format!(
            "The page tables of node {node} are not as the node's kernel sets them up: {finding}. \
             If you cannot explain this, treat the node as compromised"
        ),
    );
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Tampered);
    event
}

/// More findings about the mapping than are reported one by one.
pub(in crate::watch) fn mapping_more(node: &NodeName, kernel: &Kernel, rest: usize) -> Event {
    let mut event = Event::new(
        EventKind::TextTampered,
        format!(
            "{rest} more findings concern the page tables of node {node}; `watchdog locate` lists \
             them"
        ),
    );
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Tampered);
    event
}
