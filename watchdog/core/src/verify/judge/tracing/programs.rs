//! BPF trampolines and programs, from the kernel's own list (`bpf_kallsyms`, kernel/bpf/core.c).

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::super::State;
use super::cause::Cause;
use super::lists::{MAX_ENTRIES, Record, circular};
use crate::verify::reference::BpfKsym;

/// Longest name of a program. Other symbols may have longer names (`KSYM_NAME_LEN`).
const NAME_BYTES: usize = 128;
/// A range of BPF code (`struct bpf_ksym`).
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) name: String,
    /// The programs that it calls, if it is a trampoline. Many places may lead to it, so it is
    /// decoded only once.
    pub(super) called: OnceCell<Result<Cause, &'static str>>,
}

/// The BPF code on the kernel's list, by first address. Of two with one address, the first is
/// taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs(BTreeMap<u64, Program>);

impl Programs {
    /// Reads the list at virtual address `list`.
    pub(super) fn registered(state: &State<'_>, layout: &BpfKsym, list: u64) -> Self {
        let mut programs = BTreeMap::new();
        let name_end = layout.name.saturating_add(NAME_BYTES as u32).saturating_sub(8);
        let last = layout.start.max(layout.end).max(name_end);
        let program = |link: u64| {
            let record = Record::read(state, link.checked_sub(layout.lnode.into())?, last)?;
            let name = record.string(layout.name, NAME_BYTES)?;
            let (start, end) = (record.word(layout.start)?, record.word(layout.end)?);
            Some(Program { start, end, name, called: OnceCell::new() })
        };
        for program in circular(state, list, MAX_ENTRIES).into_iter().filter_map(program) {
            programs.entry(program.start).or_insert(program);
        }
        Self(programs)
    }

    /// The program that contains an address. In a healthy kernel, two programs never overlap.
    pub(super) fn at(&self, virt: u64) -> Option<&Program> {
        let (_, program) = self.0.range(..=virt).next_back()?;
        (virt < program.end).then_some(program)
    }
}
