//! The sentences: what happened, where, in which node, what was done.

use std::time::Duration;

use super::strays::MOST_STRAYS;
use crate::alert::{Event, EventKind};
use crate::node::{MOST_NODES, Node, NodeName, Target, describe};
use watchdog_core::locate::{Finding, Kernel, Lost};
use watchdog_core::memory::RangeSet;
use watchdog_core::text::{hex, printable};
use watchdog_core::verify::judge::Cause;
use watchdog_core::verify::{Baseline, Difference, Verdict};
use watchdog_guard::LeaseTerms;

/// Bytes of a difference that a sentence or a field shows.
const BYTES_SHOWN: usize = 32;
/// Longest symbol name that is shown.
const SYMBOL_SHOWN: usize = 128;
/// Longest path of an executable that is shown.
const EXE_SHOWN: usize = 256;

/// Bytes for a sentence: `e9deadbeef`, cut with an ellipsis.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    match bytes.get(..BYTES_SHOWN) {
        Some(head) if head.len() < bytes.len() => hex(head) + "…",
        _ => hex(bytes),
    }
}

/// The watch is on.
pub(super) fn started(target: &Target) -> Event {
    let what = match &target.guarded {
        Some(guarded) => format!("guarding {}", in_words(guarded)),
        None => {
            let memory = target.nodes.memory().in_brief();
            format!("without a guard (the memory is a file), reading {memory}")
        }
    };
    Event::new(
        EventKind::Started,
        format!("watchdog {} started, {what}", env!("CARGO_PKG_VERSION")),
    )
}

/// The watchdog ends; a guard stays.
pub(super) fn stopped(guarded: bool) -> Event {
    let guard = if guarded {
        "The guard stays in force; `watchdog guard disarm` takes it down"
    } else {
        "There is no guard"
    };
    Event::new(EventKind::Stopped, format!("watchdog stopped: nodes are no longer swept. {guard}"))
}

/// A lease began: one executable may write a node's memory.
pub(super) fn lease_begun(terms: &LeaseTerms, memory: &RangeSet) -> Event {
    let exe = printable(terms.exe.as_bytes(), EXE_SHOWN);
    let event = Event::new(
        EventKind::LeaseBegun,
        format!(
            "Node {} is leased for {:?}, requested by {}. A process that starts {exe} (SHA-256 \
             {}) during the lease may write {}. The node is not judged during the lease",
            terms.node,
            Duration::from_millis(terms.milliseconds),
            terms.user,
            terms.sha256,
            in_words(memory)
        ),
    );
    event.node(terms.node.as_str())
}

/// Ranges for a sentence: with spaces, so that a long list can be broken into lines.
fn in_words(ranges: &RangeSet) -> String {
    ranges.to_string().replace(',', ", ")
}

/// A lease ended.
pub(super) fn lease_ended(terms: &LeaseTerms, writes: u64, stale_access: usize) -> Event {
    let held = match stale_access {
        0 => "No process kept access".to_owned(),
        1 => "1 process that kept access is reported".to_owned(),
        many => format!("{many} processes that kept access are reported"),
    };
    let mut event = Event::new(
        EventKind::LeaseEnded,
        format!(
            "The lease of node {} ended. The guard allowed {writes} writes and mappings by {}. \
             {held}. The node is located and judged again",
            terms.node,
            printable(terms.exe.as_bytes(), EXE_SHOWN),
        ),
    );
    event.count = Some(writes);
    event.node(terms.node.as_str())
}

/// A kernel was found.
pub(super) fn found(node: &Node, kernel: &Kernel) -> Event {
    let Kernel { release, text, witnesses, .. } = kernel;
    let agreeing: Vec<_> = witnesses.iter().filter(|w| w.agrees).map(|w| w.name).collect();
    let release = printable(release.as_bytes(), 64);
    let name = &node.name;
    let mut event = Event::new(
        EventKind::NodeFound,
        format!(
            "Node {name} runs Linux {release}: kernel text of {} bytes at physical {} (virtual \
             {}), located by {}",
            text.size,
            text.phys,
            text.virt,
            agreeing.join(", ")
        ),
    );
    of_text(&mut event, name, kernel);
    event
}

/// A kernel in a few words.
pub(super) fn kernel(kernel: &Kernel) -> String {
    let release = printable(kernel.release.as_bytes(), 64);
    let Kernel { text, .. } = kernel;
    format!("Linux {release} with {} bytes of text at physical {}", text.size, text.phys)
}

/// A node boots, for the first time or again.
pub(super) fn booting(node: &Node, before: Option<&Kernel>, boots: &Lost) -> Event {
    let name = &node.name;
    let place = boots.text.map_or_else(String::new, |at| format!(" at physical {at}"));
    let (kind, message) = match before {
        Some(before) => (
            EventKind::NodeRebooted,
            format!(
                "Node {name} reboots: a kernel starts{place}. Before, it ran {}",
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

/// Something in a node's memory looks like a kernel and is not the one that runs.
pub(super) fn stray(node: &NodeName, stray: &Finding) -> Event {
    let mut event = Event::new(
        EventKind::StrayKernel,
        format!(
            "Memory of node {node} holds a kernel, or parts of one, that the node does not run: \
             {}. An earlier kernel left it behind, or it was planted",
            describe(stray)
        ),
    )
    .node(node.as_str());
    event.phys = stray.text_address();
    event
}

/// More kernels live than are kept apart as nodes; `next` would be the first of the rest.
pub(super) fn crowded(next: &NodeName) -> Event {
    let message = format!(
        "More than {MOST_NODES} kernels run in the memory searched for nodes. {next} and later \
         ones are not watched. Give each node its own range, with --node or in the configuration"
    );
    let mut event = Event::new(EventKind::NodeLost, message).node(next.as_str());
    event.verdict = Some(Verdict::Lost);
    event
}

/// A node's memory holds more strays than are reported one by one.
pub(super) fn strays_more(node: &NodeName) -> Event {
    let message = format!(
        "Memory of node {node} holds more than {MOST_STRAYS} kernels, or parts of kernels, that \
         the node does not run. The rest are not reported; `watchdog locate` lists all"
    );
    Event::new(EventKind::StrayKernel, message).node(node.as_str())
}

/// A witness contradicts a pinned kernel, or (without `doubt`) agrees with it again.
pub(super) fn witness_changed(node: &NodeName, kernel: &Kernel, doubt: Option<&str>) -> Event {
    let message = match doubt {
        Some(doubt) => format!(
            "The witnesses of node {node}'s kernel no longer agree: {doubt}. The watchdog still \
             watches the kernel where it was found, at physical {}",
            kernel.text.phys
        ),
        None => format!("The witnesses of node {node}'s kernel agree again"),
    };
    let mut event = Event::new(EventKind::WitnessChanged, message);
    of_text(&mut event, node, kernel);
    event
}

/// A kernel is in another place than before, or is another kernel.
pub(super) fn rebooted(node: &Node, before: &Kernel, now: &Kernel) -> Event {
    let name = &node.name;
    let mut event = Event::new(
        EventKind::NodeRebooted,
        format!(
            "Node {name} rebooted: it runs {} (virtual {}). Before, it ran {} ({})",
            kernel(now),
            now.text.virt,
            kernel(before),
            before.text.virt,
        ),
    );
    of_text(&mut event, name, now);
    event
}

/// A baseline was learned.
pub(super) fn learned(node: &Node, kernel: &Kernel, baseline: &Baseline, file: &str) -> Event {
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
pub(super) fn unsaved(
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

/// A stretch of text differs.
pub(super) fn tampered(
    node: &NodeName,
    difference: &Difference,
    attribution: Option<&str>,
) -> Event {
    let Difference { phys, virt, expected, found, note, .. } = difference;
    let symbol = difference.symbol.as_ref().map(|name| printable(name.as_bytes(), SYMBOL_SHOWN));
    let place = symbol.as_deref().unwrap_or("an unknown symbol");
    let length = found.len();
    let mut event = Event::new(
        EventKind::TextTampered,
        format!(
            "Kernel text of node {node} was changed: {length} byte{} at {place} (physical {phys}, \
             virtual {virt}), expected {}, found {}: {note}{}",
            if length == 1 { "" } else { "s" },
            bytes(expected),
            bytes(found),
            attribution.map_or_else(String::new, |attribution| format!(". {attribution}"))
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
pub(super) fn tampered_more(node: &NodeName, rest: usize, pages: usize) -> Event {
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

/// A tracer, probe or patch changed the text by the kernel's own means.
pub(super) fn instrumented(node: &NodeName, kernel: &Kernel, cause: &Cause, count: u32) -> Event {
    let mut event = Event::new(
        EventKind::TextInstrumented,
        format!(
            "Kernel text of node {node} is instrumented in {count} place{}, by {}: {}",
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
pub(super) fn instrumented_more(node: &NodeName, kernel: &Kernel, rest: usize) -> Event {
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

/// A finding about the mapping of the text.
pub(super) fn mapping(node: &NodeName, kernel: &Kernel, finding: &str) -> Event {
    let mut event = Event::new(
        EventKind::TextTampered,
        format!("The page tables of node {node} are wrong: {finding}"),
    );
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Tampered);
    event
}

/// More findings about the mapping than are reported one by one.
pub(super) fn mapping_more(node: &NodeName, kernel: &Kernel, rest: usize) -> Event {
    let mut event = Event::new(
        EventKind::TextTampered,
        format!(
            "The page tables of node {node} have {rest} more findings of this kind; \
             `watchdog locate` lists them"
        ),
    );
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Tampered);
    event
}

/// The text matches its baseline again, or is explained again.
pub(super) fn clean(node: &NodeName, kernel: &Kernel, verdict: Verdict) -> Event {
    let how = if verdict == Verdict::Clean {
        "equals its baseline again"
    } else {
        "differs from its baseline again only as the kernel's own tables allow"
    };
    let mut event = Event::new(EventKind::TextClean, format!("Kernel text of node {node} {how}"));
    of_text(&mut event, node, kernel);
    event.verdict = Some(verdict);
    event
}

/// A node is lost.
pub(super) fn lost(node: &NodeName, reason: &str) -> Event {
    let mut event = Event::new(EventKind::NodeLost, format!("Node {node} is lost: {reason}"))
        .node(node.as_str());
    event.verdict = Some(Verdict::Lost);
    event
}

/// A node's clocks stand still.
pub(super) fn stands_still(node: &NodeName, kernel: &Kernel, time: Duration) -> Event {
    let mut event = Event::new(
        EventKind::NodeLost,
        format!(
            "The clocks of node {node} have not advanced for {:.1} s: its processors may have \
             been stopped or taken over. Its text is judged as before. Check the node's console, \
             and restart the node if it does not answer",
            time.as_secs_f64()
        ),
    );
    of_text(&mut event, node, kernel);
    event
}

/// A node's clocks advance again.
pub(super) fn goes_on(node: &NodeName, kernel: &Kernel, time: Duration) -> Event {
    let mut event = Event::new(
        EventKind::NodeFound,
        format!("The clocks of node {node} advance again, after {:.1} s", time.as_secs_f64()),
    );
    of_text(&mut event, node, kernel);
    event
}

/// Fills in where the text is.
fn of_text(event: &mut Event, node: &NodeName, kernel: &Kernel) {
    event.node = Some(node.to_string());
    event.phys = Some(kernel.text.phys);
    event.virt = Some(kernel.text.virt);
    event.length = Some(kernel.text.size);
}
