//! Paravirt calls, up to 6.7: an indirect call through `pv_ops` that the kernel makes direct at
//! boot (`apply_paravirt()`, arch/x86/kernel/alternative.c; `paravirt_patch()`,
//! arch/x86/kernel/paravirt.c).

use super::super::branch::{self, CALL, JMP};
use super::super::nops;
use super::super::site::Site;
use super::call_sites::is_call;
use super::context::{MAY_BE_FUNCTION, Rules, SiteState};

/// The code that a kernel up to 5.12 writes in place of a call to a function (`patch_data_xxl` and
/// `patch_data_lock`, arch/x86/kernel/paravirt_patch.c).
const NATIVE: [(&str, &[u8]); 11] = [
    ("native_irq_disable", &[0xfa]),
    ("native_irq_enable", &[0xfb]),
    ("native_save_fl", &[0x9c, 0x58]),
    ("native_restore_fl", &[0x57, 0x9d]),
    ("native_read_cr2", &[0x0f, 0x20, 0xd0]),
    ("__native_read_cr3", &[0x0f, 0x20, 0xd8]),
    ("native_write_cr3", &[0x0f, 0x22, 0xdf]),
    ("native_wbinvd", &[0x0f, 0x09]),
    ("_paravirt_ident_64", &[0x48, 0x89, 0xf8]),
    ("__raw_callee_save___native_queued_spin_unlock", &[0xc6, 0x07, 0x00]),
    ("__raw_callee_save___native_vcpu_is_preempted", &[0x31, 0xc0]),
];

/// `jmp *disp32`, of which the kernel makes a direct jump (`INTERRUPT_RETURN`, up to 5.12).
const INDIRECT_JUMP: [u8; 2] = [0xff, 0x25];

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
    let does_nothing = known_symbols.nop == Some(target) || expected.consists_of(target, &[]);
    if does_nothing && nops::fill(live) {
        return SiteState::Expected;
    }
    if is_native(rules, target, live) {
        return SiteState::Expected;
    }
    let jumps = expected.linked(site.at, 2) == INDIRECT_JUMP && branch::is(live, to, JMP, target);
    let leads = jumps || is_call(rules, live, to, target);
    let direct = leads && live.get(5..).is_some_and(nops::fill);
    match live.first() {
        _ if direct && expected.is_function(target) => SiteState::Expected,
        _ if direct && expected.may_be_function(target) => SiteState::NotJudged(MAY_BE_FUNCTION),
        Some(&CALL) => SiteState::Unexpected(
            "a call to a function other than the one that its pointer in pv_ops names",
        ),
        _ => SiteState::Unexpected(
            "neither the call through pv_ops nor a call to what its pointer names",
        ),
    }
}

/// Whether `live` is the code that the kernel writes in place of a call to `target`.
fn is_native(rules: &Rules<'_>, target: u32, live: &[u8]) -> bool {
    let symbols = &rules.expected.reference.symbols;
    let name = symbols.at(target);
    let native = NATIVE.iter().find(|(function, _)| Some(*function) == name);
    let filled = |code: &[u8]| live.strip_prefix(code).is_some_and(nops::fill);
    native.is_some_and(|(_, code)| filled(code)) && symbols.address("native_patch").is_some()
}
