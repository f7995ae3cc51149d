//! Events about kernels that no node runs.

use crate::alert::{Event, EventKind};
use crate::node::{MOST_NODES, NodeName, describe};
use crate::watch::strays::MOST_STRAYS;
use watchdog_core::locate::Finding;
use watchdog_core::verify::Verdict;

/// A finding in a node's memory looks like a kernel and is not the one that runs.
pub(in crate::watch) fn stray(node: &NodeName, stray: &Finding) -> Event {
    let mut event = Event::new(
        EventKind::StrayKernel,
        format!(
            "Memory of node {node} holds a kernel, or parts of one, that the node does not run: \
             {}. Remains of an earlier boot look like this, and an attacker can plant the same. If \
             the node did not run that kernel before, examine the node",
            describe(stray)
        ),
    )
    .node(node.as_str());
    event.phys = stray.text_address();
    event
}

/// A node's memory holds more strays than are reported one by one.
pub(in crate::watch) fn strays_more(node: &NodeName) -> Event {
    let message = format!(
        "Memory of node {node} holds more than {MOST_STRAYS} kernels, or parts of kernels, that \
         the node does not run. The rest are not reported; `watchdog locate` lists all"
    );
    Event::new(EventKind::StrayKernel, message).node(node.as_str())
}

/// More kernels live than can be nodes. `next` would be the first of the rest.
pub(in crate::watch) fn crowded(next: &NodeName) -> Event {
    let message = format!(
        "The memory searched for nodes holds more than {MOST_NODES} running kernels. The watchdog \
         does not watch {next} or any further kernel. To watch all kernels, give each node its own \
         range, with --node or in the configuration"
    );
    let mut event = Event::new(EventKind::NodeLost, message).node(next.as_str());
    event.verdict = Some(Verdict::Lost);
    event
}
