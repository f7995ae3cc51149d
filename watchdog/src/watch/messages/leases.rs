//! Events of leases.

use std::time::Duration;

use crate::alert::{Event, EventKind};
use watchdog_core::memory::RangeSet;
use watchdog_core::text::printable;
use watchdog_guard::LeaseTerms;

/// Longest path of an executable that is shown.
const EXE_SHOWN: usize = 256;

/// A lease began: one executable may write a node's memory.
pub(in crate::watch) fn lease_begun(terms: &LeaseTerms, memory: &RangeSet) -> Event {
    let exe = printable(terms.exe.as_bytes(), EXE_SHOWN);
    let event = Event::new(
        EventKind::LeaseBegun,
        format!(
            "A lease on node {} is in force for {:?}, requested by {}. A process that starts to \
             execute {exe} (SHA-256 {}) during the lease may write to {}. The watchdog does not \
             judge the node during the lease. To end the lease early, run `watchdog guard lease \
             --end`",
            terms.node,
            Duration::from_millis(terms.milliseconds),
            terms.user,
            terms.sha256,
            in_words(memory)
        ),
    );
    event.node(terms.node.as_str())
}

/// Ranges for a sentence, with spaces so that a long list can wrap.
pub(super) fn in_words(ranges: &RangeSet) -> String {
    ranges.to_string().replace(',', ", ")
}

/// A lease ended.
pub(in crate::watch) fn lease_ended(terms: &LeaseTerms, writes: u64, stale_access: usize) -> Event {
    let held = match stale_access {
        0 => "No process kept access to the memory".to_owned(),
        1 => "1 process kept access to the memory; a separate event reports it".to_owned(),
        many => format!("{many} processes kept access to the memory; separate events report them"),
    };
    let mut event = Event::new(
        EventKind::LeaseEnded,
        format!(
            "The lease on node {} ended. During the lease, the guard allowed {writes} writes and \
             mappings by {}. {held}. The watchdog now locates and judges the node again",
            terms.node,
            printable(terms.exe.as_bytes(), EXE_SHOWN),
        ),
    );
    event.count = Some(writes);
    event.node(terms.node.as_str())
}
