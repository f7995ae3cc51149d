//! Events about a node's kernel text.

use super::attribution::sentence;
use super::kernel::of_text;
use crate::alert::{Event, EventKind};
use crate::node::NodeName;
use crate::watch::attribution::Attribution;
use watchdog_core::locate::Kernel;
use watchdog_core::text::{hex, printable};
use watchdog_core::verify::judge::Cause;
use watchdog_core::verify::{Difference, NotJudged, Verdict};

/// Bytes of a difference that a sentence or a field shows.
const BYTES_SHOWN: usize = 32;
/// Longest symbol name that is shown.
const SYMBOL_SHOWN: usize = 128;
/// Longest list of what is not judged that is shown.
const NOT_JUDGED_SHOWN: usize = 2048;

/// Bytes for a sentence: `e9deadbeef`. Long ones are cut with an ellipsis.
fn bytes(bytes: &[u8]) -> String {
    match bytes.get(..BYTES_SHOWN) {
        Some(head) if head.len() < bytes.len() => hex(head) + "…",
        _ => hex(bytes),
    }
}

/// A stretch of text differs.
pub(in crate::watch) fn tampered(
    node: &NodeName,
    difference: &Difference,
    attribution: Option<&Attribution>,
) -> Event {
    let Difference { phys, virt, expected, found, note, .. } = difference;
    let symbol = difference.symbol.as_ref().map(|name| printable(name.as_bytes(), SYMBOL_SHOWN));
    let place = symbol.as_deref().unwrap_or("an unknown symbol");
    let length = found.len();
    let mut event = Event::new(
        EventKind::TextTampered,
        format!(
            "Kernel text of node {node} was changed at {place} (physical {phys}, virtual {virt}): \
             {length} byte{}, expected {}, found {} ({note}){}. If you cannot explain the change, \
             treat the node as compromised",
            if length == 1 { "" } else { "s" },
            bytes(expected),
            bytes(found),
            attribution.map_or_else(String::new, |it| format!(". {}", sentence(node, it)))
        ),
    );
    event.node = Some(node.to_string());
    event.verdict = Some(Verdict::Tampered);
    event.phys = Some(*phys);
    event.virt = Some(*virt);
    event.length = Some(length as u64);
    event.symbol = symbol;
    event.expected = Some(bytes(expected));
    event.found = Some(bytes(found));
    event
}

/// More differences than are reported one by one.
pub(in crate::watch) fn tampered_more(node: &NodeName, rest: usize, pages: usize) -> Event {
    let mut event = Event::new(
        EventKind::TextTampered,
        format!(
            "Kernel text of node {node} was changed in {rest} more places ({pages} pages differ \
             in all); `watchdog scan --verbose` lists them"
        ),
    );
    event.node = Some(node.to_string());
    event.verdict = Some(Verdict::Tampered);
    event
}

/// A tracer, probe or patch changed the text through a mechanism of the kernel.
pub(in crate::watch) fn instrumented(
    node: &NodeName,
    kernel: &Kernel,
    cause: &Cause,
    count: u32,
) -> Event {
    let mut event = Event::new(
        EventKind::TextInstrumented,
        format!(
            "Kernel text of node {node} is instrumented in {count} place{} by {}: {}. If you did \
             not start this tracer, probe or patch, examine the node",
            if count == 1 { "" } else { "s" },
            cause.mechanism,
            cause.name
        ),
    );
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Instrumented);
    event
}

/// More causes than are reported one by one.
pub(in crate::watch) fn instrumented_more(node: &NodeName, kernel: &Kernel, rest: usize) -> Event {
    let mut event = Event::new(
        EventKind::TextInstrumented,
        format!(
            "Kernel text of node {node} is instrumented by {rest} more tracers or probes; \
             `watchdog scan` lists them all"
        ),
    );
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Instrumented);
    event
}

/// A part of the text is not judged. The names of patch tables come from an image.
pub(in crate::watch) fn not_judged(node: &NodeName, kernel: &Kernel, what: &[&NotJudged]) -> Event {
    let list: Vec<_> = what.iter().map(ToString::to_string).collect();
    let mut event = Event::new(
        EventKind::TextNotJudged,
        format!(
            "Kernel text of node {node} is not judged in part: {}. A change there is neither found \
             nor excused",
            printable(list.join("; ").as_bytes(), NOT_JUDGED_SHOWN)
        ),
    );
    of_text(&mut event, node, kernel);
    event
}

/// The text matches its baseline again, or is explained again.
pub(in crate::watch) fn clean(node: &NodeName, kernel: &Kernel, verdict: Verdict) -> Event {
    let how = if verdict == Verdict::Clean {
        "equals its baseline again"
    } else {
        "equals its baseline again, except where the kernel patched itself as its own tables allow"
    };
    let mut event = Event::new(EventKind::TextClean, format!("Kernel text of node {node} {how}"));
    of_text(&mut event, node, kernel);
    event.verdict = Some(verdict);
    event
}
