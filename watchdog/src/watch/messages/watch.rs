//! Events about the watch itself: it starts, and it stops.

use super::leases::in_words;
use crate::alert::{Event, EventKind};
use crate::node::{Target, Unreadable};
use watchdog_core::text::visible;

/// The watch started.
pub(in crate::watch) fn started(target: &Target) -> Event {
    let what = match &target.guarded {
        Some(guarded) => format!("guarding {}", in_words(guarded)),
        None => {
            let memory = target.nodes.memory().in_brief();
            format!("reading {memory} without a guard: the memory is a file, or node 0's own")
        }
    };
    Event::new(
        EventKind::Started,
        format!("watchdog {} started, {what}", env!("CARGO_PKG_VERSION")),
    )
}

/// The watchdog ends; a guard stays.
pub(in crate::watch) fn stopped(guarded: bool) -> Event {
    let guard = if guarded {
        "The guard stays in force; `watchdog guard disarm` takes it down"
    } else {
        "There is no guard"
    };
    let message = format!("The watchdog stopped, and no longer sweeps the nodes. {guard}");
    Event::new(EventKind::Stopped, message)
}

/// A signal ended the watchdog during its start.
pub(in crate::watch) fn stopped_early() -> Event {
    let message = "The watchdog stopped during its start, and watches no node. This start put no \
                   guard in force; a guard that was in force before it stays";
    Event::new(EventKind::Stopped, message.to_owned())
}

/// The image of a node cannot be read at the start.
pub(in crate::watch) fn no_image(image: &Unreadable) -> Event {
    let of = match &image.node {
        Some(node) => format!("the image of node {node}"),
        None => "an image for every node".to_owned(),
    };
    let message = format!(
        "The watchdog starts without {of}: {}. A kernel of that image is judged by an imported \
         baseline if there is one, else it is not judged. The watchdog learns nothing in its \
         place, and tries the file again at each search",
        visible(&image.why)
    );
    let event = Event::new(EventKind::GuardDegraded, message);
    match &image.node {
        Some(node) => event.node(node.as_str()),
        None => event,
    }
}
