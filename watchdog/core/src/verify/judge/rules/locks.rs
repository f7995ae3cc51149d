//! Lock prefixes: `lock` with several processors, `ds` with one
//! (`alternatives_smp_lock()`, `alternatives_smp_unlock()`, arch/x86/kernel/alternative.c).

use super::super::agreement::Class;
use super::context::{Rules, SiteState};

const LOCK: u8 = 0xf0;
const DS: u8 = 0x3e;

pub(super) fn judge(rules: &mut Rules<'_>, live: &[u8], to: u32) -> SiteState {
    let linked = rules.expected.linked(to, 1);
    match live {
        // If another prefix comes first, the table names that one, and the kernel leaves it as it
        // is.
        _ if linked != [LOCK] && live == linked => SiteState::Expected,
        [LOCK] => rules.vote(Class::SmpLock, 1),
        [DS] => rules.vote(Class::SmpLock, 0),
        _ => SiteState::Unexpected(
            "neither a lock prefix nor the prefix that replaces it on one processor",
        ),
    }
}
