//! ftrace's registered tracers (kernel/trace/ftrace.c, 5.10 to 7.2).

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::super::State;
use super::lists::{MAX_ENTRIES, Record};
use crate::verify::reference::FtraceOps;

/// The tracer that redirects a patched function to its replacement.
pub(super) const LIVEPATCH_HANDLER: &str = "klp_ftrace_handler";
/// The tracer that calls a probe at a function's entry (`kprobe_ftrace_ops`).
pub(super) const KPROBE_HANDLER: &str = "kprobe_ftrace_handler";

/// A registered tracer (`struct ftrace_ops`).
#[derive(Clone, Debug)]
pub(super) struct Ops {
    /// The virtual address of its record.
    pub(super) at: u64,
    pub(super) func: u64,
    pub(super) trampoline: u64,
    pub(super) size: u64,
    /// The target of the trampoline's call, computed on first use; `None` if it is not a
    /// trampoline.
    pub(super) callee: OnceCell<Option<u64>>,
}

/// Reads the tracers on the list at virtual address `list`, up to the one at `end`.
pub(super) fn registered(state: &State<'_>, layout: &FtraceOps, list: u64, end: u64) -> Vec<Ops> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut at = state.word_at(list);
    let last = layout.func.max(layout.next).max(layout.trampoline).max(layout.trampoline_size);
    while let Some(ops) = at.filter(|ops| *ops != end && *ops != 0) {
        if seen.len() >= MAX_ENTRIES || !seen.insert(ops) {
            break;
        }
        let Some(record) = Record::read(state, ops, last) else { break };
        let field = |offset: u32| record.word(offset);
        if let Some(func) = field(layout.func) {
            let trampoline = field(layout.trampoline).unwrap_or_default();
            let size = field(layout.trampoline_size).unwrap_or_default();
            found.push(Ops { at: ops, func, trampoline, size, callee: OnceCell::new() });
        }
        at = field(layout.next);
    }
    found
}
