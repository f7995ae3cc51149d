//! Events about the watch itself: it starts, and it stops.

use super::leases::in_words;
use crate::alert::{Event, EventKind};
use crate::node::Target;

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
