//! The sentences: what happened, where, in which node, what was done.

use crate::alert::{Event, EventKind, hex, printable};
use crate::locate::{Kernel, Symbols};
use crate::memory::VirtAddr;
use crate::node::{Node, NodeName};
use crate::verify::{Baseline, Difference, Verdict};

/// Bytes of a difference that a sentence or a field shows.
const BYTES_SHOWN: usize = 32;
/// Longest symbol name that is shown.
const SYMBOL_SHOWN: usize = 128;

/// `symbol+0xoffset`, as the node's own kallsyms has it.
pub(crate) fn symbol(symbols: &Symbols, at: VirtAddr) -> Option<String> {
    let (name, offset) = symbols.lookup(at)?;
    Some(format!("{}+{offset:#x}", printable(name.as_bytes(), SYMBOL_SHOWN)))
}

/// Bytes for a sentence: `e9deadbeef`, cut with an ellipsis.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    match bytes.get(..BYTES_SHOWN) {
        Some(head) if head.len() < bytes.len() => hex(head) + "…",
        _ => hex(bytes),
    }
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
            "Node {name} runs Linux {release}: kernel text of {} bytes at physical {} (virtual {}), says {}",
            text.size,
            text.phys,
            text.virt,
            agreeing.join(", ")
        ),
    );
    of_text(&mut event, name, kernel);
    event
}

/// A kernel is somewhere else than before, or another one.
pub(super) fn rebooted(node: &Node, before: &Kernel, now: &Kernel) -> Event {
    let name = &node.name;
    let mut event = Event::new(
        EventKind::NodeRebooted,
        format!(
            "Node {name} was rebooted: Linux {} with its text at physical {} (virtual {}); before, {} at {} ({})",
            printable(now.release.as_bytes(), 64),
            now.text.phys,
            now.text.virt,
            printable(before.release.as_bytes(), 64),
            before.text.phys,
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
            "The baseline of node {name} was learned from its text as it stands (trusted on first use): SHA-256 {}, stored in {file}",
            baseline.sha256()
        ),
    );
    of_text(&mut event, name, kernel);
    event
}

/// A stretch of text differs.
pub(super) fn tampered(node: &NodeName, kernel: &Kernel, difference: &Difference) -> Event {
    let Difference { phys, virt, expected, found, judgement: _ } = difference;
    let symbol = symbol(&kernel.symbols, *virt);
    let place = symbol.as_deref().unwrap_or("an unknown symbol");
    let length = found.len();
    let mut event = Event::new(
        EventKind::TextTampered,
        format!(
            "Kernel text of node {node} was changed: {length} byte{} at {place} (physical {phys}, virtual {virt}), expected {}, found {}",
            if length == 1 { "" } else { "s" },
            bytes(expected),
            bytes(found)
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

/// More differences than are told one by one.
pub(super) fn tampered_more(node: &NodeName, rest: usize, pages: usize) -> Event {
    let mut event = Event::new(
        EventKind::TextTampered,
        format!(
            "Kernel text of node {node} was changed in {rest} more places ({pages} pages differ in all); `watchdog scan --verbose` lists them"
        ),
    );
    event.node = Some(node.to_string());
    event.verdict = Some(Verdict::Tampered);
    event
}

/// Something about the mapping of the text is an alarm by itself.
pub(super) fn mapping(node: &NodeName, kernel: &Kernel, finding: &str) -> Event {
    let mut event = Event::new(
        EventKind::TextTampered,
        format!("The page tables of node {node} are not as they must be: {finding}"),
    );
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Tampered);
    event
}

/// The text is as the baseline has it again.
pub(super) fn clean(node: &NodeName, kernel: &Kernel) -> Event {
    let mut event = Event::new(
        EventKind::TextClean,
        format!("Kernel text of node {node} is equal to its baseline again"),
    );
    of_text(&mut event, node, kernel);
    event.verdict = Some(Verdict::Clean);
    event
}

/// A node is lost.
pub(super) fn lost(node: &NodeName, reason: &str) -> Event {
    let mut event = Event::new(EventKind::NodeLost, format!("Node {node} is lost: {reason}"))
        .node(node.as_str());
    event.verdict = Some(Verdict::Lost);
    event
}

/// Fills in where the text is.
fn of_text(event: &mut Event, node: &NodeName, kernel: &Kernel) {
    event.node = Some(node.to_string());
    event.phys = Some(kernel.text.phys);
    event.virt = Some(kernel.text.virt);
    event.length = Some(kernel.text.size);
}
