//! Events about nodes: a kernel was found, boots, was replaced, stands still, or is lost.

use std::time::Duration;

use super::kernel::{kernel, of_text};
use crate::alert::{Event, EventKind};
use crate::node::{Node, NodeName};
use watchdog_core::locate::{Kernel, Lost};
use watchdog_core::text::printable;
use watchdog_core::verify::Verdict;

/// A kernel was found.
pub(in crate::watch) fn found(node: &Node, kernel: &Kernel) -> Event {
    let Kernel { release, text, witnesses, .. } = kernel;
    let agreeing: Vec<_> = witnesses.iter().filter(|w| w.agrees).map(|w| w.name).collect();
    let release = printable(release.as_bytes(), 64);
    let name = &node.name;
    let clocks = if kernel.pulse.is_known() {
        ""
    } else {
        ". No clock of it is known, so the watchdog cannot report that it stands still"
    };
    let mut event = Event::new(
        EventKind::NodeFound,
        format!(
            "Node {name} runs Linux {release}: kernel text of {} bytes at physical {} (virtual \
             {}), located by {}{clocks}",
            text.size,
            text.phys,
            text.virt,
            agreeing.join(", ")
        ),
    );
    of_text(&mut event, name, kernel);
    event
}

/// A node boots, for the first time or again.
pub(in crate::watch) fn booting(node: &Node, before: Option<&Kernel>, boots: &Lost) -> Event {
    let name = &node.name;
    let place = boots.text.map_or_else(String::new, |at| format!(" at physical {at}"));
    let (kind, message) = match before {
        Some(before) => (
            EventKind::NodeRebooted,
            format!(
                "Node {name} is rebooting: a new kernel starts{place}. The previous kernel was {}",
                kernel(before)
            ),
        ),
        None => (EventKind::NodeFound, format!("Node {name} is booting: a kernel starts{place}")),
    };
    let mut event = Event::new(kind, message).node(name.as_str());
    event.verdict = Some(Verdict::Booting);
    event.phys = boots.text;
    event
}

/// A node's kernel was found and cannot be judged, because an image cannot be used.
pub(in crate::watch) fn unjudged(node: &NodeName, kernel: &Kernel, reason: &str) -> Event {
    let message = format!("Node {}", reason.strip_prefix("node ").unwrap_or(reason));
    let mut event = Event::new(EventKind::GuardDegraded, message);
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Unverified);
    event
}

/// The node runs another kernel, or the same kernel in another place.
pub(in crate::watch) fn rebooted(node: &Node, before: &Kernel, now: &Kernel) -> Event {
    let name = &node.name;
    let mut event = Event::new(
        EventKind::NodeRebooted,
        format!(
            "Node {name} rebooted, and now runs {} (virtual {}). The previous kernel was {} \
             (virtual {})",
            kernel(now),
            now.text.virt,
            kernel(before),
            before.text.virt,
        ),
    );
    of_text(&mut event, name, now);
    event
}

/// A witness contradicts a pinned kernel, or (without `doubt`) agrees with it again.
pub(in crate::watch) fn witness_changed(
    node: &NodeName,
    kernel: &Kernel,
    doubt: Option<&str>,
) -> Event {
    let message = match doubt {
        Some(doubt) => format!(
            "The witnesses that locate the kernel of node {node} (crash note, symbol table, page \
             tables) no longer agree: {doubt}. The watchdog still judges the kernel where it was \
             found, at physical {}. A running kernel does not change its witnesses: treat the node \
             as attacked. `watchdog locate` shows what each witness says",
            kernel.text.phys
        ),
        None => format!("The witnesses that locate the kernel of node {node} agree again"),
    };
    let mut event = Event::new(EventKind::WitnessChanged, message);
    of_text(&mut event, node, kernel);
    event
}

/// A node is lost.
pub(in crate::watch) fn lost(node: &NodeName, reason: &str) -> Event {
    let message = format!(
        "Node {node} is lost: {reason}. The watchdog does not judge the node now, and keeps \
         searching for a kernel that it can judge. If the node should be running, check the node's \
         console"
    );
    let mut event = Event::new(EventKind::NodeLost, message).node(node.as_str());
    event.verdict = Some(Verdict::Lost);
    event
}

/// A node's clocks stand still.
pub(in crate::watch) fn stands_still(node: &NodeName, kernel: &Kernel, time: Duration) -> Event {
    let mut event = Event::new(
        EventKind::NodeLost,
        format!(
            "The clocks of node {node} have not advanced for {:.1} s: the node's processors may \
             have been stopped or taken over. The watchdog still judges the kernel text. Check the \
             node's console, and restart the node if the console does not answer",
            time.as_secs_f64()
        ),
    );
    of_text(&mut event, node, kernel);
    event
}

/// A node's clocks advance again.
pub(in crate::watch) fn goes_on(node: &NodeName, kernel: &Kernel, time: Duration) -> Event {
    let mut event = Event::new(
        EventKind::NodeFound,
        format!("The clocks of node {node} advance again, after {:.1} s", time.as_secs_f64()),
    );
    of_text(&mut event, node, kernel);
    event
}
