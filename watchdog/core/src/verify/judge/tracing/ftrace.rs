//! ftrace: which tracers are registered, and whether code is a genuine trampoline
//! (arch/x86/kernel/ftrace.c, `create_trampoline()`; kernel/trace/ftrace.c, 5.10 to 7.2).

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::super::Mechanism;
use super::super::branch::{CALL, decode};
use super::super::nops;
use super::super::page::Open;
use super::cause::{Cause, NoCause};
use super::lists::{End, named};
use super::livepatch;
use super::ops::{KPROBE_HANDLER, LIVEPATCH_HANDLER, Ops};
use super::registry::Tracing;
use crate::verify::reference::List;

/// Largest trampoline that is read.
const MAX_TRAMPOLINE: u64 = 4096;

/// The two pieces of code that trampolines are copied from. The symbols name the first byte, the
/// end, and the call of the tracer.
const TEMPLATES: [[&str; 3]; 2] = [
    ["ftrace_caller", "ftrace_caller_end", "ftrace_call"],
    ["ftrace_regs_caller", "ftrace_regs_caller_end", "ftrace_regs_call"],
];

const NO_TRACER: &str = "a call to a function that is not a tracer";

/// The cause of a branch to a place in the kernel's own text.
pub(super) fn within(tracing: &Tracing<'_>, open: &Open, target: u32) -> Result<Cause, NoCause> {
    let symbols = &tracing.expected.reference.symbols;
    let name = symbols.at(target).unwrap_or_default();
    let is_inner = TEMPLATES.iter().any(|[.., call]| symbols.at(open.at) == Some(call));
    let is_tracer = if is_inner {
        name.ends_with("ftrace_ops_list_func")
            || name == "ftrace_ops_assist_func"
            || tracing.ops.iter().any(|ops| tracing.state.offset_of(ops.func) == Some(target))
    } else {
        open.opcode == CALL && TEMPLATES.iter().any(|[first, ..]| name == *first)
    };
    if let Some(why) = tracing.unreadable(List::Tracers) {
        // Whether the function is a registered tracer is unknown, but it must be a function.
        let expected = tracing.expected;
        let is_function = expected.is_function(target) || expected.may_be_function(target);
        let may_be = is_tracer || (is_inner && is_function);
        return Err(if may_be { NoCause::NotJudged(why) } else { NO_TRACER.into() });
    }
    if !is_tracer {
        return Err(NO_TRACER.into());
    }
    if tracing.ops.is_empty() {
        return Err(match tracing.missing(open, tracing.state.virt_of(open.target)) {
            NoCause::Unexplained(_) if tracing.ops_end == End::Whole => {
                "a call to the tracers' entry, but no tracer is registered".into()
            }
            no_cause => no_cause,
        });
    }
    let all = tracing.tracers.get_or_init(|| {
        let names = tracing.ops.iter().map(|ops| tracing.name_or_address(ops.func));
        let names: BTreeSet<String> = names.collect();
        named(names.into_iter().collect())
    });
    Ok(cause(all.clone()))
}

/// The cause of a call to a trampoline that was made for one tracer.
pub(super) fn trampoline(tracing: &Tracing<'_>, ops: &Ops, open: &Open) -> Result<Cause, NoCause> {
    if open.opcode != CALL {
        return Err("a jump into a tracer's trampoline".into());
    }
    let callee = ops.callee.get_or_init(|| callee(tracing, ops));
    let callee = callee.ok_or("a call to something that is not a copy of the tracers' entry")?;
    let symbols = &tracing.expected.reference.symbols;
    let helper = tracing.state.offset_of(callee).and_then(|at| symbols.at(at));
    // A helper calls tracers that need protection. It finds them by their record.
    let is_right = callee == ops.func
        || helper.is_some_and(|name| {
            name.ends_with("ftrace_ops_list_func") || name == "ftrace_ops_assist_func"
        });
    if !is_right {
        return Err("a call to a trampoline that calls a function other than its tracer".into());
    }
    let nameless = || tracing.nameless("a call to a trampoline without a function");
    let name = tracing.name(ops.func).ok_or_else(nameless)?;
    match name.as_str() {
        LIVEPATCH_HANDLER => livepatch::cause(tracing, ops, open.at),
        KPROBE_HANDLER => {
            if let Some(why) = tracing.unreadable(List::Probes) {
                return Err(NoCause::NotJudged(why));
            }
            let found = tracing.probes.at(open.at);
            let found = found.ok_or("a call to the probes' tracer, but no probe is registered")?;
            Ok(tracing.cause_of_probe(found, open.at))
        }
        _ => Ok(cause(name)),
    }
}

/// The cause for a tracer, with the mechanism that its function belongs to.
fn cause(name: String) -> Cause {
    let mechanism = match name.as_str() {
        LIVEPATCH_HANDLER => Mechanism::Livepatch,
        KPROBE_HANDLER => Mechanism::Kprobe,
        "call_direct_funcs" => Mechanism::Bpf,
        _ => Mechanism::Ftrace,
    };
    Cause::new(mechanism, name)
}

/// The virtual address that a trampoline calls. The trampoline must be a copy of one of the
/// templates in the node's own text, which is judged too.
fn callee(tracing: &Tracing<'_>, ops: &Ops) -> Option<u64> {
    let size = usize::try_from(ops.size.min(MAX_TRAMPOLINE)).ok()?;
    let code = tracing.state.at(ops.trampoline, size)?;
    if code.writable || !code.executable {
        return None;
    }
    let symbols = &tracing.expected.reference.symbols;
    TEMPLATES.iter().find_map(|[first, end, call]| {
        let first = symbols.address(first)?;
        let end = symbols.address(end)?;
        let call = symbols.address(call)?.checked_sub(first)?;
        let length = usize::try_from(end.checked_sub(first)?).ok().filter(|n| *n <= size)?;
        let template = tracing.state.at(tracing.state.virt_of(first.into()), length)?.bytes;
        let copy = code.bytes.get(..length)?;
        is_copy(tracing, &template, first, copy, ops.trampoline, call)
    })
}

/// Compares a trampoline with its template, instruction by instruction. Each must be equal, or lead
/// to the same place. Three instructions may differ. The call of the tracer may lead anywhere, and
/// its target is returned. The pointer to the tracer's record may be behind the code. One jump may
/// be a NOP, because a copy does not need it.
fn is_copy(
    tracing: &Tracing<'_>,
    template: &[u8],
    first: u32,
    copy: &[u8],
    at: u64,
    call: u32,
) -> Option<u64> {
    let template_at = tracing.state.virt_of(first.into());
    let mut decoder = Decoder::with_ip(64, template, template_at, DecoderOptions::NONE);
    let mut moved = Decoder::with_ip(64, copy, at, DecoderOptions::NONE);
    let (mut one, mut other) = (Instruction::default(), Instruction::default());
    let mut callee = None;
    while decoder.can_decode() {
        let place = decoder.position();
        decoder.decode_out(&mut one);
        let length = one.len();
        let found = copy.get(place..place.checked_add(length)?)?;
        let here = at.checked_add(place as u64)?;
        if place == call as usize {
            let distance = decode(found, 0).filter(|branch| branch.opcode == CALL)?.target;
            callee = Some(here.wrapping_add_signed(distance));
        } else if template.get(place..place.checked_add(length)?) != Some(found)
            && !nops::fill(found)
        {
            moved.set_position(place).ok()?;
            moved.set_ip(here);
            moved.decode_out(&mut other);
            if other.len() != length || other.code() != one.code() {
                return None;
            }
            if one.is_ip_rel_memory_operand() {
                let target = other.ip_rel_memory_address();
                // It leads to the same variable, or to the record's pointer behind the code.
                let behind = target.checked_sub(at).filter(|target| *target >= copy.len() as u64);
                let own =
                    behind.is_some_and(|behind| behind <= (copy.len() as u64).saturating_add(16));
                if target != one.ip_rel_memory_address() && !own {
                    return None;
                }
            } else if one.near_branch_target() != other.near_branch_target() {
                return None;
            }
        } else if nops::fill(found) && !nops::fill(template.get(place..place.checked_add(length)?)?)
        {
            // Only `ftrace_regs_caller_jmp` becomes a NOP: a conditional jump to the path of direct
            // calls. A copy that was made early in boot has the NOPs of alternatives.
            let linked = first.checked_add(u32::try_from(place).ok()?)?;
            if !one.is_jcc_short_or_near() && !nops::fill(tracing.expected.linked(linked, length)) {
                return None;
            }
        }
    }
    callee
}
