//! ftrace's registered tracers (kernel/trace/ftrace.c, 5.10 to 7.2).

use std::cell::OnceCell;

use super::super::State;
use super::lists::{End, MAX_ENTRIES, Record, follow};
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
pub(super) fn registered(
    state: &State<'_>,
    layout: &FtraceOps,
    list: u64,
    end: u64,
) -> (Vec<Ops>, End) {
    let mut found = Vec::new();
    let last = layout.func.max(layout.trampoline).max(layout.trampoline_size);
    let ended = follow(state, list, end, MAX_ENTRIES, |ops| {
        if let Some(record) = Record::read(state, ops, last) {
            let func = record.word(layout.func).unwrap_or_default();
            let trampoline = record.word(layout.trampoline).unwrap_or_default();
            let size = record.word(layout.trampoline_size).unwrap_or_default();
            found.push(Ops { at: ops, func, trampoline, size, callee: OnceCell::new() });
        }
        ops.checked_add(layout.next.into())
    });
    (found, ended)
}
