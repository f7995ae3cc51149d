//! What calls through pointers lead to as linked.

use std::collections::BTreeSet;

use super::text::{CALL, Text, unanimous};
use crate::verify::reference::{Alternative, ImageSymbols, tables};

/// `BUG_func`: what the replacements of all indirect calls call that become direct
/// (`ALT_CALL_INSTR`, arch/x86/include/asm/alternative.h, since 6.8).
pub(super) fn bug(text: &Text<'_>) -> Option<u32> {
    let calls = direct_calls(text);
    unanimous(calls.iter().filter_map(|entry| text.target(CALL, entry.replacement)))
}

/// The pointers that calls go through which become direct.
pub(super) fn slots(text: &Text<'_>, symbols: &ImageSymbols) -> BTreeSet<u32> {
    let direct = direct_calls(text).into_iter().filter_map(|entry| slot(text, entry.at));
    direct.chain(paravirt_slots(text, symbols)).collect()
}

/// The alternatives that make an indirect call direct.
fn direct_calls(text: &Text<'_>) -> Vec<Alternative> {
    let entries = tables::alternatives_of(text.image).unwrap_or_default();
    entries.into_iter().filter(|entry| entry.direct_call).collect()
}

/// The pointer that `call *disp(%rip)` calls through.
fn slot(text: &Text<'_>, at: u32) -> Option<u32> {
    let [0xff, 0x15, a, b, c, d] = text.code(at)? else { return None };
    at.checked_add(6)?.checked_add_signed(i32::from_le_bytes([a, b, c, d]))
}

/// The pointers of `pv_ops` that calls up to 6.7 go through.
fn paravirt_slots(text: &Text<'_>, symbols: &ImageSymbols) -> Vec<u32> {
    let Some(pv_ops) = symbols.address("pv_ops") else { return Vec::new() };
    let sites = tables::paravirt_of(text.image);
    let slot = |slot: u8| pv_ops.checked_add(u32::from(slot).checked_mul(8)?);
    sites.into_iter().filter_map(|site| slot(site.slot)).collect()
}
