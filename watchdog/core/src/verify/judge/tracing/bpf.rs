//! BPF: trampolines and programs by the kernel's own list of them (`bpf_kallsyms`,
//! kernel/bpf/core.c), and which programs a trampoline calls.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::{Cause, MAX_ENTRIES, Mechanism, Record, State, Tracing, circular, named};
use crate::verify::reference::BpfKsym;

/// Bytes of a trampoline that are read: it fits a page (arch/x86/net/bpf_jit_comp.c).
const MAX_TRAMPOLINE: u64 = 4096;
/// Longest name of a program (`KSYM_NAME_LEN` is longer, no program's name is).
const NAME_BYTES: usize = 128;
/// A trampoline may be entered behind its landing pad.
const ENTRY: u64 = 4;

/// A stretch of BPF's code (`struct bpf_ksym`).
#[derive(Clone, Debug)]
pub(super) struct Program {
    start: u64,
    end: u64,
    name: String,
    /// What it calls as a trampoline. Many places may lead to it, so it is decoded only once.
    called: OnceCell<Result<Cause, &'static str>>,
}

/// What BPF has on its list, by first address; of two of one address the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs(BTreeMap<u64, Program>);

impl Programs {
    /// What is on the list at virtual `list`.
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

    /// The program that an address lies in: no two of a healthy kernel overlap.
    pub(super) fn at(&self, virt: u64) -> Option<&Program> {
        let (_, program) = self.0.range(..=virt).next_back()?;
        (virt < program.end).then_some(program)
    }
}

/// A branch into a trampoline: which programs it calls.
pub(super) fn trampoline(
    tracing: &Tracing<'_>,
    program: &Program,
    virt: u64,
) -> Result<Cause, &'static str> {
    if !program.name.starts_with("bpf_trampoline_") {
        return Err("a branch into a BPF program, past its trampoline");
    }
    if virt.checked_sub(program.start).is_none_or(|offset| offset > ENTRY) {
        return Err("a branch into the middle of a BPF trampoline");
    }
    program.called.get_or_init(|| called_by(tracing, program)).clone()
}

/// Which programs a trampoline calls.
fn called_by(tracing: &Tracing<'_>, program: &Program) -> Result<Cause, &'static str> {
    let size = program.end.saturating_sub(program.start).min(MAX_TRAMPOLINE);
    let code = usize::try_from(size).ok().and_then(|size| tracing.state.at(program.start, size));
    let code = code
        .filter(|code| code.executable && !code.writable)
        .ok_or("a branch to a BPF trampoline whose memory is not as it must be")?;
    let called = called(tracing, &code.bytes, program.start);
    let name = if called.is_empty() { program.name.clone() } else { named(called) };
    Ok(Cause::new(Mechanism::Bpf, name))
}

/// The programs that some code calls, in its order, each once.
fn called<'a>(tracing: &'a Tracing<'_>, code: &[u8], at: u64) -> Vec<&'a str> {
    let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
    for instruction in Decoder::with_ip(64, code, at, DecoderOptions::NONE) {
        if instruction.mnemonic() != Mnemonic::Call {
            continue;
        }
        let called = tracing.programs.at(instruction.near_branch_target());
        names.extend(called.map(|called| &*called.name).filter(|name| seen.insert(*name)));
    }
    names
}
