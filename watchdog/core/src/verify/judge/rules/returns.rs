//! Returns (`apply_returns()`, arch/x86/kernel/alternative.c, since 6.0), linked as a jump to
//! `__x86_return_thunk`. At boot a return becomes a plain `ret`, or a jump to the thunk that
//! `x86_return_thunk` names.

use super::super::branch::{self, JMP};
use super::context::{Rules, SiteState};

pub(super) fn judge(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let known_symbols = &rules.expected.reference.tables.known_symbols;
    let default = known_symbols.default_thunk;
    let chosen = known_symbols.return_thunk.and_then(|variable| rules.pointer(variable));
    let jumps = |thunk: Option<u32>| thunk.is_some_and(|thunk| branch::is(live, to, JMP, thunk));
    if branch::is_plain_return(live) {
        // With indirect target selection, only returns in one half of a cache line use a thunk.
        let name = chosen.and_then(|thunk| rules.expected.reference.symbols.at(thunk));
        return if chosen == default || name == Some("its_return_thunk") {
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
