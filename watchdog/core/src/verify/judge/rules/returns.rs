//! Returns (`apply_returns()`, arch/x86/kernel/alternative.c, since 6.0), linked as a jump to
//! `__x86_return_thunk`. At boot a return becomes a plain `ret`, or a jump to the thunk that
//! `x86_return_thunk` names.

use super::super::branch::{self, JMP};
use super::super::site::Site;
use super::super::thunks::UPPER_HALF;
use super::context::{Rules, SiteState};

/// A return that `.return_sites` lists. With indirect target selection, only the returns in the
/// lower half of a cache line use the thunk (`cpu_wants_rethunk_at()`, since 6.1). In replacement
/// code, the kernel decides before it copies the code.
pub(super) fn judge_listed(rules: &Rules<'_>, site: &Site, live: &[u8], to: u32) -> SiteState {
    let chosen = rules.expected.reference.tables.known_symbols.return_thunk;
    let chosen = chosen.and_then(|variable| rules.pointer(variable));
    let is_aligned = chosen.is_some() && chosen == rules.expected.thunks.aligned_return;
    let needs_thunk = rules.state.virt_of(site.at.into()) & UPPER_HALF == 0;
    if is_aligned && needs_thunk == branch::is_plain_return(live) {
        return SiteState::Unexpected("a return of the other half of a cache line");
    }
    judge(rules, live, to)
}

pub(super) fn judge(rules: &Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let known_symbols = &rules.expected.reference.tables.known_symbols;
    let default = known_symbols.default_thunk;
    let chosen = known_symbols.return_thunk.and_then(|variable| rules.pointer(variable));
    let jumps = |thunk: Option<u32>| thunk.is_some_and(|thunk| branch::is(live, to, JMP, thunk));
    if branch::is_plain_return(live) {
        // With indirect target selection, only returns in one half of a cache line use a thunk.
        let is_aligned = chosen.is_some() && chosen == rules.expected.thunks.aligned_return;
        return if chosen == default || is_aligned {
            SiteState::Expected
        } else {
            SiteState::Unexpected("a plain return, but the kernel uses a return thunk")
        };
    }
    if jumps(chosen) {
        return if chosen.is_some_and(|thunk| rules.expected.is_function(thunk)) {
            SiteState::Expected
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
