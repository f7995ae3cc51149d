//! Returns (`apply_returns()`, arch/x86/kernel/alternative.c, since 6.0), linked as a jump to
//! `__x86_return_thunk`. At boot a return becomes a plain `ret`, or a jump to the thunk that
//! `x86_return_thunk` names.
//!
//! Clang 19 links `cs jmp`, which has six bytes. The kernel fills what it writes there with `int3`.
//!
//! A kernel that has named a thunk may still return plainly. On Zen 1 and 2 with hyperthreads and
//! microcode, `spec_rstack_overflow=ibpb` takes the feature back, and leaves the variable that the
//! mitigation of Retbleed set (`srso_select_mitigation()`, arch/x86/kernel/cpu/bugs.c, 6.12). All
//! returns are then plain, so they must agree.

use super::super::agreement::Class;
use super::super::branch::{self, CS, INT3, JMP};
use super::super::site::Site;
use super::super::thunks::UPPER_HALF;
use super::context::{MAY_BE_FUNCTION, Rules, SiteState};

/// The return thunk that the kernel chose; `None` if it keeps the linked one, or names something
/// that is not a function.
pub(super) fn chosen_thunk(rules: &Rules<'_>) -> Option<u32> {
    let known_symbols = &rules.expected.reference.tables.known_symbols;
    let chosen = rules.pointer(known_symbols.return_thunk?)?;
    let is_other = known_symbols.default_thunk != Some(chosen);
    let is_function = rules.expected.is_function(chosen) || rules.expected.may_be_function(chosen);
    (is_other && is_function).then_some(chosen)
}

/// A return that `.return_sites` lists. With indirect target selection, only the returns in the
/// lower half of a cache line use the thunk (`cpu_wants_rethunk_at()`, since 6.1). In replacement
/// code, the kernel decides before it copies the code.
pub(super) fn judge_listed(rules: &mut Rules<'_>, site: &Site, live: &[u8], to: u32) -> SiteState {
    let chosen = rules.expected.reference.tables.known_symbols.return_thunk;
    let chosen = chosen.and_then(|variable| rules.pointer(variable));
    let is_aligned = chosen.is_some() && chosen == rules.expected.thunks.aligned_return;
    let needs_thunk = rules.state.virt_of(site.at.into()) & UPPER_HALF == 0;
    if is_aligned && needs_thunk == branch::is_plain_return(live) {
        return SiteState::Unexpected("a return of the other half of a cache line");
    }
    judge(rules, live, to)
}

pub(super) fn judge(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let known_symbols = &rules.expected.reference.tables.known_symbols;
    let default = known_symbols.default_thunk;
    let chosen = known_symbols.return_thunk.and_then(|variable| rules.pointer(variable));
    let jumps = |thunk: Option<u32>| thunk.is_some_and(|thunk| jumps_to(live, to, thunk));
    if let ([CS, jump @ ..], Some(thunk)) = (live, default) {
        // As linked. The kernel writes no prefix.
        return if chosen == default && jumps_to(jump, to.saturating_add(1), thunk) {
            SiteState::Expected
        } else {
            SiteState::Unexpected("the linked return, which the kernel does not use")
        };
    }
    if branch::is_plain_return(live) {
        // With indirect target selection, only returns in one half of a cache line use a thunk.
        let is_aligned = chosen.is_some() && chosen == rules.expected.thunks.aligned_return;
        if chosen == default || is_aligned {
            return SiteState::Expected;
        }
        return match rules.vote(Class::ReturnThunk, 0) {
            SiteState::Expected => SiteState::Expected,
            _ => SiteState::Unexpected("a plain return, but the kernel uses a return thunk"),
        };
    }
    if jumps(chosen) {
        return if chosen == default {
            SiteState::Expected
        } else if chosen.is_some_and(|thunk| rules.expected.is_function(thunk)) {
            rules.vote(Class::ReturnThunk, 1)
        } else if chosen.is_some_and(|thunk| rules.expected.may_be_function(thunk)) {
            SiteState::NotJudged(MAY_BE_FUNCTION)
        } else {
            SiteState::Unexpected("a jump to something that is not a function of the kernel")
        };
    }
    if jumps(default) {
        return SiteState::Unexpected(
            "a jump to the linked return thunk, which the kernel does not use",
        );
    }
    SiteState::Unexpected("neither a return nor a jump to the kernel's return thunk")
}

/// Whether `live` is a jump to `thunk`, followed only by `int3`.
fn jumps_to(live: &[u8], at: u32, thunk: u32) -> bool {
    let (jump, filling) = live.split_at_checked(5).unwrap_or((live, &[]));
    branch::is(jump, at, JMP, thunk) && filling.iter().all(|byte| *byte == INT3)
}
