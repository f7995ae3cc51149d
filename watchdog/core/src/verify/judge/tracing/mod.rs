//! What a kernel says traces it, and whether a branch out of its text leads there.
//!
//! A site of ftrace, a probe or a BPF trampoline may lead anywhere; so each is held against the
//! kernel's own book of who registered what, and the code it leads to against the kernel's own
//! template. What is in no book is no tracer.

mod bpf;
mod ftrace;
mod kprobes;
mod livepatch;
mod modules;

use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::branch::{CALL, JMP, Place};
use super::page::Open;
use super::{Expected, Mechanism, State};
use crate::text::{printable, shortened};
use crate::verify::reference::Layouts;

pub(super) use kprobes::{Armed, Probes};

/// Entries of a kernel's list that are followed: far more than any kernel has, and few enough that
/// a list which loops or grows costs nothing.
const MAX_ENTRIES: usize = 4096;
/// Largest structure that is read.
const MAX_RECORD: usize = 4096;
/// Bytes of a name that are read from the node's memory, and bytes of a name that are shown. A byte
/// that cannot be printed is shown as several.
const MAX_NAME: usize = 200;
const MAX_SHOWN: usize = 512;
/// Bytes of a cause's name, which may be made of many names.
const MAX_LINE: usize = 4096;
/// How many are named of those that one branch leads to: as many programs as one BPF trampoline
/// can have (`BPF_MAX_TRAMP_LINKS`, include/linux/bpf.h).
const MAX_NAMED: usize = 38;

/// What changed a text legitimately, in a way that leads out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// By which mechanism.
    pub mechanism: Mechanism,
    /// Who is behind it, fit to print: `function_trace_call`.
    pub name: String,
}

impl Cause {
    /// A cause, with its name cut to [`MAX_LINE`] bytes.
    pub(super) fn new(mechanism: Mechanism, name: String) -> Self {
        Self { mechanism, name: shortened(name, MAX_LINE) }
    }
}

/// The book of one kernel at one moment.
pub(super) struct Tracing<'a> {
    expected: &'a Expected,
    state: &'a State<'a>,
    probes: &'a Probes,
    layouts: Option<Layouts>,
    ops: Vec<ftrace::Ops>,
    /// Whose trampoline begins at a virtual address, of `ops`.
    trampolines: BTreeMap<u64, usize>,
    /// The names of all tracers, once anybody asks.
    tracers: OnceCell<String>,
    /// Virtual addresses of the tracers that do something else at each place.
    shared: [Option<u64>; 2],
    programs: bpf::Programs,
    modules: modules::Modules,
}

impl<'a> Tracing<'a> {
    /// Reads the book; nothing is registered where the kernel does not describe its types.
    pub(super) fn look(expected: &'a Expected, state: &'a State<'a>, probes: &'a Probes) -> Self {
        let layouts = expected.reference.layouts;
        let symbol = |name: &str| {
            let offset = expected.reference.symbols.address(name)?;
            Some(state.virt_of(offset.into()))
        };
        let mut tracing = Self {
            expected,
            state,
            probes,
            layouts,
            ops: Vec::new(),
            trampolines: BTreeMap::new(),
            tracers: OnceCell::new(),
            shared: [livepatch::HANDLER, kprobes::HANDLER].map(symbol),
            programs: bpf::Programs::default(),
            modules: modules::Modules::default(),
        };
        let Some(layouts) = layouts else { return tracing };
        if let Some((list, end)) = symbol("ftrace_ops_list").zip(symbol("ftrace_list_end")) {
            tracing.ops = ftrace::registered(state, &layouts.ftrace_ops, list, end);
            for (n, ops) in tracing.ops.iter().enumerate() {
                tracing.trampolines.entry(ops.trampoline).or_insert(n);
            }
        }
        if let Some(list) = symbol("bpf_kallsyms") {
            tracing.programs = bpf::Programs::registered(state, &layouts.bpf_ksym, list);
        }
        if let Some(list) = symbol("modules") {
            tracing.modules = modules::Modules::loaded(state, &layouts.module, list);
        }
        tracing
    }

    /// Whether who a branch leads to depends on its place, and not only on where it goes.
    pub(super) fn is_of_place(&self, open: &Open) -> bool {
        self.is_inside(open.target)
            || self.expected.is_static_call(open.at)
            || self.tracer_at(open.target).is_some_and(|ops| self.shared.contains(&Some(ops.func)))
    }

    fn is_inside(&self, target: Place) -> bool {
        (0..i64::from(self.expected.text_size())).contains(&target)
    }

    /// Whose trampoline is at a place.
    fn tracer_at(&self, target: Place) -> Option<&ftrace::Ops> {
        let virt = self.state.virt_of(target);
        self.ops.get(*self.trampolines.get(&virt)?)
    }

    /// Who a branch out of the tables leads to.
    ///
    /// # Errors
    /// What is wrong with where it leads, for a sentence.
    pub(super) fn follow(&self, open: &Open) -> Result<Cause, &'static str> {
        let inside = u32::try_from(open.target).ok().filter(|_| self.is_inside(open.target));
        if let Some(target) = inside {
            return ftrace::within(self, open.at, open.opcode, target);
        }
        let virt = self.state.virt_of(open.target);
        if let Some(ops) = self.tracer_at(open.target) {
            return ftrace::trampoline(self, ops, open);
        }
        if let Some(program) = self.programs.at(virt) {
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
            Some(offset) => Some(shortened(symbols.at(offset)?.to_owned(), MAX_SHOWN)),
            None => self.modules.symbol(self.state, virt),
        }
    }

    /// A place in the text by its function's name: `vfs_read+0x5`.
    fn place(&self, at: u32) -> String {
        let Some((name, offset)) = self.expected.reference.symbols.lookup(at) else {
            return format!("{at:#x}");
        };
        let name = shortened(name.to_owned(), MAX_SHOWN);
        if offset == 0 { name } else { format!("{name}+{offset:#x}") }
    }

    /// The name of a function, or where it is when it has none.
    fn name_or_address(&self, virt: u64) -> String {
        self.name(virt).unwrap_or_else(|| format!("{virt:#x}"))
    }
}

/// Names in one line, and of more than are named their number.
fn named<N: Borrow<str>>(mut names: Vec<N>) -> String {
    let others = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let line = names.join::<&str>(", ");
    if others == 0 { line } else { format!("{line} and {others} more") }
}

/// The entries of a circular `struct list_head` at `head`, by the address of their links; the first
/// `most`.
fn circular(state: &State<'_>, head: u64, most: usize) -> Vec<u64> {
    let (mut entries, mut seen) = (Vec::new(), BTreeSet::new());
    let mut at = state.word_at(head);
    while let Some(entry) = at.filter(|entry| *entry != head && *entry != 0) {
        // A list that is cut short, or loops without its head, ends all the same.
        if entries.len() >= most || !seen.insert(entry) {
            break;
        }
        entries.push(entry);
        at = state.word_at(entry);
    }
    entries
}

/// A structure of the kernel's, copied at one moment.
struct Record(Vec<u8>);

impl Record {
    /// The structure at virtual `at`, to the end of the field of eight bytes at `last`.
    fn read(state: &State<'_>, at: u64, last: u32) -> Option<Self> {
        let length = usize::try_from(last.checked_add(8)?).ok();
        Some(Self(state.at(at, length.filter(|length| *length <= MAX_RECORD)?)?.bytes))
    }

    /// The field of eight bytes at an offset.
    fn word(&self, offset: u32) -> Option<u64> {
        Some(u64::from_le_bytes(*self.0.get(offset as usize..)?.first_chunk()?))
    }

    /// The field at an offset that is a NUL-terminated string of at most `longest` bytes, fit to
    /// print.
    fn string(&self, offset: u32, longest: usize) -> Option<String> {
        text(self.0.get(offset as usize..)?.get(..longest)?)
    }
}

/// A NUL-terminated string of at most `longest` bytes, fit to print.
fn string(state: &State<'_>, virt: u64, longest: usize) -> Option<String> {
    text(&state.at(virt, longest)?.bytes)
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    (!text.is_empty()).then(|| shortened(printable(text, MAX_NAME), MAX_SHOWN))
}
