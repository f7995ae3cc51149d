//! Paravirt calls, up to 6.7: an indirect call through `pv_ops` that the kernel makes direct at
//! boot (`apply_paravirt()`, arch/x86/kernel/alternative.c; `paravirt_patch()`,
//! arch/x86/kernel/paravirt.c).

use super::super::branch::CALL;
use super::super::nops;
use super::super::site::Site;
use super::call_sites::is_call;
use super::context::{Rules, SiteState};

pub(super) fn judge(rules: &mut Rules<'_>, n: u32, site: &Site, live: &[u8], to: u32) -> SiteState {
    let expected = rules.expected;
    if expected.linked(site.at, site.length.into()) == live {
        return SiteState::Expected;
    }
    let known_symbols = &expected.reference.tables.known_symbols;
    let entry = expected.reference.tables.paravirt.get(n as usize);
    let slot = entry
        .zip(known_symbols.pv_ops)
        .and_then(|(entry, pv_ops)| pv_ops.checked_add(u32::from(entry.slot).checked_mul(8)?));
    let Some(target) = slot.and_then(|slot| rules.pointer(slot)) else {
        return SiteState::Unexpected("its pointer in pv_ops leads out of the kernel");
    };
    if known_symbols.nop == Some(target) && nops::fill(live) {
        return SiteState::Expected;
    }
    let direct = is_call(rules, live, to, target) && live.get(5..).is_some_and(nops::fill);
    match live.first() {
        _ if direct && expected.is_function(target) => SiteState::Expected,
        Some(&CALL) => SiteState::Unexpected(
            "a call to a function other than the one that its pointer in pv_ops names",
        ),
        _ => SiteState::Unexpected(
            "neither the call through pv_ops nor a call to what its pointer names",
        ),
    }
}
