//! Events about uses of the nodes' memory by node 0's kernel.

use crate::alert::{Event, EventKind};
use watchdog_core::memory::MemoryUse;
use watchdog_core::text::printable;

/// Bytes of a list of uses that are shown.
const USES_SHOWN: usize = 1024;

/// Uses began; `None` if there are none.
pub(in crate::watch) fn uses_begun(new: &[&MemoryUse]) -> Option<Event> {
    let risk = if new.iter().any(|it| it.is_owned()) {
        "The guard cannot stop node 0's kernel from writing to that memory, so node 0 and the \
         other nodes may crash at any moment. Take the memory away from node 0 (/proc/iomem shows \
         the map; memmap=SIZE$START reserves memory at boot), or stop the nodes that own it"
    } else {
        "A driver of node 0 may write to that memory. Remove the driver (rmmod), or stop the nodes \
         that own the memory"
    };
    let message = format!(
        "Node 0's kernel uses memory that belongs to other nodes: {}. {risk}",
        in_words(new)
    );
    about(new, EventKind::GuardTampered, message)
}

/// Uses ended, and `remain` others continue; `None` if none ended.
pub(in crate::watch) fn uses_ended(over: &[&MemoryUse], remain: usize) -> Option<Event> {
    let left = match remain {
        0 => "No such use remains".to_owned(),
        1 => "1 such use remains".to_owned(),
        n => format!("{n} such uses remain"),
    };
    let message = format!(
        "Node 0's kernel no longer uses memory of other nodes in this way: {}. {left}",
        in_words(over)
    );
    about(over, EventKind::GuardArmed, message)
}

/// The uses cannot be read.
pub(in crate::watch) fn uses_unknown(why: &str) -> Event {
    Event::new(
        EventKind::GuardDegraded,
        format!(
            "The watchdog cannot check whether node 0's kernel uses memory of other nodes: {why}. \
             Until this check works again, it reports no such use"
        ),
    )
}

/// An event whose place is the first use.
fn about(uses: &[&MemoryUse], kind: EventKind, message: String) -> Option<Event> {
    let first = uses.first()?;
    let mut event = Event::new(kind, message);
    (event.phys, event.length) = (Some(first.range.start()), Some(first.range.size()));
    Some(event)
}

/// A list of uses, with printable names.
fn in_words(uses: &[&MemoryUse]) -> String {
    let all: Vec<_> = uses.iter().map(ToString::to_string).collect();
    printable(all.join(", ").as_bytes(), USES_SHOWN)
}
