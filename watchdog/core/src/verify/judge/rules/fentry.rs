//! Function entries (`__mcount_loc`): `call __fentry__` as linked, a NOP once ftrace has started,
//! and a branch while a tracer is active (arch/x86/kernel/ftrace.c).

use super::super::branch::{CALL, JMP, Place, decode};
use super::super::nops::NOP5;
use super::super::site::Site;
use super::call_sites::is_call;
use super::context::{Rules, SiteState};

pub(super) fn judge(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    if live == NOP5 {
        return SiteState::Expected;
    }
    let fentry = rules.expected.reference.tables.known_symbols.fentry.map(Place::from);
    match decode(live, to) {
        Some(call) if call.opcode == CALL && Some(call.target) == fentry => SiteState::Expected,
        Some(branch) if matches!(branch.opcode, CALL | JMP) => {
            SiteState::Followed(branch.opcode, branch.target)
        }
        _ => SiteState::Unexpected("neither a NOP nor a call to a tracer"),
    }
}

/// The call inside `ftrace_caller` and `ftrace_regs_caller`. It calls `ftrace_stub` as linked, the
/// tracer, or the function that calls all tracers (`ftrace_update_ftrace_func()`).
pub(super) fn judge_inner(rules: &mut Rules<'_>, site: &Site, live: &[u8], to: u32) -> SiteState {
    let linked = rules.expected.linked(site.at, site.length.into());
    let stub = decode(linked, site.at).and_then(|call| u32::try_from(call.target).ok());
    match decode(live, to) {
        _ if live == linked => SiteState::Expected,
        // The call is also in `.call_sites`.
        _ if stub.is_some_and(|stub| is_call(rules, live, to, stub)) => SiteState::Expected,
        Some(call) if call.opcode == CALL => SiteState::Followed(call.opcode, call.target),
        _ => SiteState::Unexpected("not a call to a tracer"),
    }
}
