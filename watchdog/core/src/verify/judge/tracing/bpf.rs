//! Finds the programs that a BPF trampoline calls.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::super::Mechanism;
use super::cause::Cause;
use super::lists::named;
use super::programs::Program;
use super::registry::Tracing;

/// Bytes of a trampoline that are read. A trampoline fits into a page
/// (arch/x86/net/bpf_jit_comp.c).
const MAX_TRAMPOLINE: u64 = 4096;
/// Bytes of a landing pad. A branch may enter the trampoline behind it.
const ENTRY: u64 = 4;

/// The cause of a branch into a trampoline: the programs that the trampoline calls.
pub(super) fn trampoline(
    tracing: &Tracing<'_>,
    program: &Program,
    virt: u64,
) -> Result<Cause, &'static str> {
    if virt.checked_sub(program.start).is_none_or(|offset| offset > ENTRY) {
        return Err("a branch into the middle of a BPF trampoline");
    }
    program.called.get_or_init(|| called_by(tracing, program)).clone()
}

/// The programs that a trampoline calls, as a cause.
fn called_by(tracing: &Tracing<'_>, program: &Program) -> Result<Cause, &'static str> {
    let own = program.name(tracing.state).unwrap_or_default();
    if !own.starts_with("bpf_trampoline_") {
        return Err("a branch into a BPF program that bypasses its trampoline");
    }
    let size = program.end.saturating_sub(program.start).min(MAX_TRAMPOLINE);
    let code = usize::try_from(size).ok().and_then(|size| tracing.state.at(program.start, size));
    let code = code
        .filter(|code| code.executable && !code.writable)
        .ok_or("a branch to a BPF trampoline with unexpected content")?;
    let called = called(tracing, &code.bytes, program.start);
    let name = if called.is_empty() { own } else { named(called) };
    Ok(Cause::new(Mechanism::Bpf, name))
}

/// The names of the programs that `code` calls, in order and without duplicates.
fn called(tracing: &Tracing<'_>, code: &[u8], at: u64) -> Vec<String> {
    let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
    for instruction in Decoder::with_ip(64, code, at, DecoderOptions::NONE) {
        if instruction.mnemonic() != Mnemonic::Call {
            continue;
        }
        let called = tracing.programs.at(instruction.near_branch_target());
        let name = called.and_then(|called| called.name(tracing.state));
        names.extend(name.filter(|name| seen.insert(name.clone())));
    }
    names
}
