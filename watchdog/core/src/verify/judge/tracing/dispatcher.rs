//! The dispatcher of a kind of BPF programs, which the kernel writes at run time. It compares the
//! address of a program, in `%rdx`, with those of all attached programs, and jumps to it
//! (kernel/bpf/dispatcher.c; `emit_bpf_dispatcher()`, arch/x86/net/bpf_jit_comp.c, 6.1 to 7.2).
//!
//! Whatever it compares, such code leads where `%rdx` points. Its copy is therefore accepted only
//! if it has no other instruction.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use super::super::Mechanism;
use super::super::page::Open;
use super::cause::{Cause, NoCause};
use super::lists::{End, named};
use super::programs::Program;
use super::registry::Tracing;

/// The start of the names of dispatchers, and of their static calls.
const PREFIX: &str = "bpf_dispatcher_";
/// Bytes of one version of the code. A page holds two, and the kernel writes one of them while the
/// other is in use.
const VERSION: u64 = 2048;

/// The kernel's code that jumps to where `%rdx` points, in place of an indirect jump.
const THUNKS: [&str; 4] = [
    "__x86_indirect_thunk_rdx",
    "__x86_indirect_jump_thunk_rdx",
    "__x86_indirect_its_thunk_rdx",
    "__x86_indirect_paranoid_thunk_rdx",
];

/// The cause of a branch by the dispatcher's own static call, `open`: the
/// programs that the dispatcher leads to. `None` if the static call is not of this dispatcher.
pub(super) fn programs(
    tracing: &Tracing<'_>,
    dispatcher: &Program,
    open: &Open,
    virt: u64,
) -> Option<Result<Cause, NoCause>> {
    let name = tracing.expected.static_call_name(open.at)?.strip_suffix("_call")?;
    let is_own = name.starts_with(PREFIX) && dispatcher.name(tracing.state)? == name;
    is_own.then(|| led_to(tracing, dispatcher, open, virt))
}

/// The programs that a dispatcher leads to, as a cause.
fn led_to(
    tracing: &Tracing<'_>,
    dispatcher: &Program,
    open: &Open,
    virt: u64,
) -> Result<Cause, NoCause> {
    let offset = virt.checked_sub(dispatcher.start);
    if !offset.is_some_and(|offset| offset == 0 || offset == VERSION) {
        return Err("a branch into the middle of a BPF dispatcher".into());
    }
    let code = usize::try_from(VERSION).ok().and_then(|size| tracing.state.at(virt, size));
    let code = code.filter(|code| code.executable && !code.writable);
    let targets = code.and_then(|code| targets(tracing, &code.bytes, virt));
    let targets = targets.ok_or("a branch to a BPF dispatcher with unexpected content")?;
    let name = |target: &u64| {
        let program = tracing.programs.at(*target).filter(|program| program.start == *target);
        let name = program.and_then(|program| program.name(tracing.state));
        name.ok_or_else(|| match tracing.missing(open, *target) {
            NoCause::Unexplained(_) if tracing.programs.end == End::Whole => {
                "a BPF dispatcher that leads to an unregistered program".into()
            }
            no_cause => no_cause,
        })
    };
    let names = targets.iter().map(name).collect::<Result<Vec<String>, NoCause>>()?;
    Ok(Cause::new(Mechanism::Bpf, named(names)))
}

/// The addresses that a dispatcher at `virt` compares `%rdx` with and jumps to, ascending. `None`
/// if its code does anything else.
fn targets(tracing: &Tracing<'_>, code: &[u8], virt: u64) -> Option<Vec<u64>> {
    let mut decoder = Decoder::with_ip(64, code, virt, DecoderOptions::NONE);
    let (mut targets, mut later) = (Vec::new(), BTreeMap::new());
    loop {
        let compared = compared(&decoder.decode())?;
        let branch = decoder.decode();
        let target = branch.near_branch_target();
        match branch.code() {
            // The code for the programs above this one follows the code for those up to it.
            Code::Jg_rel8_64 | Code::Jg_rel32_64 => {
                if later.insert(target, compared).is_some() {
                    return None;
                }
            }
            Code::Je_rel32_64 if target == compared => {
                if targets.last().is_some_and(|last| *last >= compared)
                    || !leaves(tracing, &mut decoder)
                {
                    return None;
                }
                targets.push(compared);
                let Some((next, pivot)) = later.pop_first() else { return Some(targets) };
                if pivot != compared || next < decoder.ip() {
                    return None;
                }
                let offset = next.checked_sub(virt)?;
                decoder.set_position(usize::try_from(offset).ok()?).ok()?;
                decoder.set_ip(next);
            }
            _ => return None,
        }
    }
}

/// The address that an instruction compares `%rdx` with.
fn compared(instruction: &Instruction) -> Option<u64> {
    let is =
        instruction.code() == Code::Cmp_rm64_imm32 && instruction.op0_register() == Register::RDX;
    is.then(|| instruction.immediate(1))
}

/// Whether the next instructions jump to where `%rdx` points, in one of the forms that
/// `emit_indirect_jump()` chooses from.
fn leaves(tracing: &Tracing<'_>, decoder: &mut Decoder<'_>) -> bool {
    let mut jump = decoder.decode();
    if jump.mnemonic() == Mnemonic::Lfence {
        jump = decoder.decode();
    }
    match jump.flow_control() {
        FlowControl::IndirectBranch => {
            jump.code() == Code::Jmp_rm64 && jump.op0_register() == Register::RDX
        }
        FlowControl::UnconditionalBranch => {
            let target = tracing.state.offset_of(jump.near_branch_target());
            let symbols = &tracing.expected.reference.symbols;
            target.is_some() && THUNKS.iter().any(|name| symbols.address(name) == target)
        }
        _ => false,
    }
}
