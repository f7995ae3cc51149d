//! What a kernel says traces it, and whether a branch out of its text leads there.
//!
//! A site of ftrace, a probe or a BPF trampoline may lead anywhere; so each is held against the
//! kernel's own book of who registered what, and the code it leads to against the kernel's own
//! template. What is in no book is no tracer.

mod bpf;
mod ftrace;
mod kprobes;
mod modules;

use super::branch::{CALL, JMP};
use super::page::Open;
use super::{Expected, Mechanism, State};
use crate::alert::printable;
use crate::verify::reference::Layouts;

pub(super) use kprobes::{Armed, Probes};

/// Entries of a kernel's list that are followed: far more than any kernel has, and few enough that
/// a list which loops or grows costs nothing.
const MAX_ENTRIES: usize = 4096;
/// Longest name that is shown.
const MAX_NAME: usize = 200;

/// What changed a text legitimately, in a way that leads out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// By which mechanism.
    pub mechanism: Mechanism,
    /// Who is behind it, fit to print: `function_trace_call`.
    pub name: String,
}

/// The book of one kernel at one moment.
pub(super) struct Tracing<'a> {
    expected: &'a Expected,
    state: &'a State<'a>,
    layouts: Option<Layouts>,
    ops: Vec<ftrace::Ops>,
    programs: Vec<bpf::Program>,
    modules: Vec<modules::Module>,
}

impl<'a> Tracing<'a> {
    /// Reads the book; nothing is registered where the kernel does not describe its types.
    pub(super) fn look(expected: &'a Expected, state: &'a State<'a>) -> Self {
        let layouts = expected.reference.layouts;
        let symbol = |name: &str| {
            let offset = expected.reference.symbols.address(name)?;
            Some(state.virt_of(offset.into()))
        };
        let mut tracing = Self {
            expected,
            state,
            layouts,
            ops: Vec::new(),
            programs: Vec::new(),
            modules: Vec::new(),
        };
        let Some(layouts) = layouts else { return tracing };
        if let Some((list, end)) = symbol("ftrace_ops_list").zip(symbol("ftrace_list_end")) {
            tracing.ops = ftrace::registered(state, &layouts.ftrace_ops, list, end);
        }
        if let Some(list) = symbol("bpf_kallsyms") {
            tracing.programs = bpf::registered(state, &layouts.bpf_ksym, list);
        }
        if let Some(list) = symbol("modules") {
            tracing.modules = modules::loaded(state, &layouts.module, list);
        }
        tracing
    }

    /// Who a branch out of the tables leads to.
    ///
    /// # Errors
    /// What is wrong with where it leads, for a sentence.
    pub(super) fn follow(&self, open: &Open) -> Result<Cause, &'static str> {
        let virt = self.state.virt_of(open.target);
        let inside = u32::try_from(open.target).ok().filter(|at| *at < self.expected.text_size());
        if let Some(target) = inside {
            return ftrace::within(self, open.at, open.opcode, target);
        }
        if let Some(ops) = self.ops.iter().find(|ops| ops.trampoline == virt) {
            return ftrace::trampoline(self, ops, open.opcode);
        }
        if let Some(program) = self.programs.iter().find(|program| program.holds(virt)) {
            return bpf::trampoline(self, program, virt);
        }
        if self.expected.is_static_call(open.at) {
            return modules::function(self, virt);
        }
        Err(match open.opcode {
            CALL => "a call of what nobody registered",
            JMP => "a jump to what nobody registered",
            _ => "a branch to what nobody registered",
        })
    }

    /// The name of a function, of the kernel or of a module.
    fn name(&self, virt: u64) -> Option<String> {
        let symbols = &self.expected.reference.symbols;
        match self.state.offset_of(virt) {
            Some(offset) => Some(symbols.at(offset)?.to_owned()),
            None => modules::symbol(self, virt),
        }
    }

    /// The name of a function, or where it is when it has none.
    fn name_or_address(&self, virt: u64) -> String {
        self.name(virt).unwrap_or_else(|| format!("{virt:#x}"))
    }
}

/// The entries of a circular `struct list_head` at `head`, by the address of their links.
fn circular(state: &State<'_>, head: u64) -> Vec<u64> {
    let mut entries = Vec::new();
    let mut at = state.word_at(head);
    while let Some(entry) = at.filter(|entry| *entry != head && *entry != 0) {
        if entries.len() >= MAX_ENTRIES {
            break;
        }
        entries.push(entry);
        at = state.word_at(entry);
    }
    entries
}

/// A NUL-terminated string of at most `longest` bytes, fit to print.
fn string(state: &State<'_>, virt: u64, longest: usize) -> Option<String> {
    let bytes = state.at(virt, longest)?.bytes;
    let text = bytes.split(|byte| *byte == 0).next()?;
    (!text.is_empty()).then(|| printable(text, MAX_NAME))
}
