//! BPF trampolines and programs, from the kernel's own list (`bpf_kallsyms`, kernel/bpf/core.c).

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::super::State;
use super::cause::Cause;
use super::lists::{End, MAX_ENTRIES, Record, circular, string};
use crate::verify::reference::BpfKsym;

/// Longest name of a program. Other symbols may have longer names (`KSYM_NAME_LEN`).
const NAME_BYTES: usize = 128;
/// A range of BPF code (`struct bpf_ksym`).
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) start: u64,
    pub(super) end: u64,
    /// The virtual address of its name.
    name: u64,
    /// The programs that it calls, if it is a trampoline. Many places may lead to it, so it is
    /// decoded only once.
    pub(super) called: OnceCell<Result<Cause, &'static str>>,
}

impl Program {
    /// Its name, fit to print.
    pub(super) fn name(&self, state: &State<'_>) -> Option<String> {
        string(state, self.name, NAME_BYTES)
    }
}

/// The BPF code on the kernel's list, by first address. Of two with one address, the first is
/// taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs {
    listed: BTreeMap<u64, Program>,
    /// How the list ended.
    pub(super) end: End,
}

impl Programs {
    /// Reads the list at virtual address `list`.
    pub(super) fn registered(state: &State<'_>, layout: &BpfKsym, list: u64) -> Self {
        let mut programs = BTreeMap::new();
        let program = |link: u64| {
            let at = link.checked_sub(layout.lnode.into())?;
            let record = Record::read(state, at, layout.start.max(layout.end))?;
            let (start, end) = (record.word(layout.start)?, record.word(layout.end)?);
            let name = at.checked_add(layout.name.into())?;
            Some(Program { start, end, name, called: OnceCell::new() })
        };
        let (links, end) = circular(state, list, MAX_ENTRIES);
        for program in links.into_iter().filter_map(program) {
            programs.entry(program.start).or_insert(program);
        }
        Self { listed: programs, end }
    }

    /// The program that contains an address. In a healthy kernel, two programs never overlap.
    pub(super) fn at(&self, virt: u64) -> Option<&Program> {
        let (_, program) = self.listed.range(..=virt).next_back()?;
        (virt < program.end).then_some(program)
    }
}
