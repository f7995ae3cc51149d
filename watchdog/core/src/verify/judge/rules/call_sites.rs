//! Direct calls in a kernel that counts calls (`callthunks_patch_builtin_calls()`, since 6.2). Such
//! a call leads to the counting code in the padding before the function.

use super::super::agreement::Class;
use super::super::branch::{CALL, decode};
use super::super::site::Site;
use super::context::{Rules, SiteState};

/// Whether the kernel counts calls. If so, it also returns through the thunk that counts.
fn counts_calls(rules: &Rules<'_>) -> bool {
    let variable = rules.expected.reference.tables.known_symbols.return_thunk;
    let thunk = variable.and_then(|variable| rules.pointer(variable));
    let name = thunk.and_then(|thunk| rules.expected.reference.symbols.at(thunk));
    name.is_some_and(|name| name == "call_depth_return_thunk" || name == "__x86_return_skl")
}

pub(super) fn judge(rules: &mut Rules<'_>, site: &Site, live: &[u8], to: u32) -> SiteState {
    let linked = rules.expected.linked(site.at, site.length.into());
    let target = decode(linked, site.at).map(|branch| branch.target);
    let found = decode(live, to).filter(|branch| branch.opcode == CALL).map(|call| call.target);
    let (Some(target), Some(found)) = (target, found) else {
        return SiteState::Unexpected("not a call");
    };
    if found == target {
        return SiteState::Expected;
    }
    let before =
        u32::try_from(target).ok().and_then(|target| rules.expected.counting_code(target, found));
    match before {
        Some(before) if counts_calls(rules) => rules.vote(Class::CallDepth, before.into()),
        Some(_) => SiteState::Unexpected(
            "a call into a function's padding, but the kernel does not count calls",
        ),
        None => SiteState::Unexpected("a call to another function"),
    }
}
