//! BPF: trampolines and programs by the kernel's own list of them (`bpf_kallsyms`,
//! kernel/bpf/core.c), and which programs a trampoline calls.

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::{Cause, Mechanism, State, Tracing, circular, string};
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
}

impl Program {
    pub(super) fn holds(&self, virt: u64) -> bool {
        (self.start..self.end).contains(&virt)
    }
}

/// What BPF has on its list at virtual `list`.
pub(super) fn registered(state: &State<'_>, layout: &BpfKsym, list: u64) -> Vec<Program> {
    let program = |link: u64| {
        let ksym = link.checked_sub(layout.lnode.into())?;
        let field = |offset: u32| state.word_at(ksym.checked_add(offset.into())?);
        let name = string(state, ksym.checked_add(layout.name.into())?, NAME_BYTES)?;
        Some(Program { start: field(layout.start)?, end: field(layout.end)?, name })
    };
    circular(state, list).into_iter().filter_map(program).collect()
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
    let size = program.end.saturating_sub(program.start).min(MAX_TRAMPOLINE);
    let code = usize::try_from(size).ok().and_then(|size| tracing.state.at(program.start, size));
    let code = code
        .filter(|code| code.executable && !code.writable)
        .ok_or("a branch to a BPF trampoline whose memory is not as it must be")?;
    let called = called(tracing, &code.bytes, program.start);
    let name = match called.as_slice() {
        [] => program.name.clone(),
        names => names.join(", "),
    };
    Ok(Cause { mechanism: Mechanism::Bpf, name })
}

/// The programs that some code calls.
fn called(tracing: &Tracing<'_>, code: &[u8], at: u64) -> Vec<String> {
    let mut names = Vec::new();
    for instruction in Decoder::with_ip(64, code, at, DecoderOptions::NONE) {
        if instruction.mnemonic() != Mnemonic::Call {
            continue;
        }
        let target = instruction.near_branch_target();
        let called = tracing.programs.iter().find(|program| program.holds(target));
        if let Some(called) = called.filter(|called| !names.contains(&called.name)) {
            names.push(called.name.clone());
        }
    }
    names
}
