//! Alternatives: the kernel chooses one of several pieces of code by the processor's features
//! (`apply_alternatives()`, arch/x86/kernel/alternative.c, 5.10 to 7.2).
//!
//! The kernel applies the entries for one place in order, each over the last. The result is the
//! last entry whose condition holds, or the original with better NOPs. A processor has a feature or
//! lacks it, so all sites that depend on it must agree.

use super::super::agreement::Class;
use super::super::branch::{CALL, Place, decode};
use super::super::code::{Code, is_copy};
use super::super::nops;
use super::context::{DISSENT, Rules, SiteState};
use crate::verify::reference::Alternative;

/// `call *disp(%rip)`, which a direct call replaces (`alt_replace_call()`, since 6.8).
const INDIRECT_CALL: [u8; 2] = [0xff, 0x15];
const INDIRECT_CALL_BYTES: u32 = 6;

pub(super) fn judge(
    rules: &mut Rules<'_>,
    first: u32,
    count: u8,
    live: &[u8],
    to: u32,
) -> SiteState {
    let expected = rules.expected;
    let entries = expected.reference.tables.alternatives.get(first as usize..);
    let entries = entries.and_then(|entries| entries.get(..count.into()));
    let Some(entries) = entries else {
        return SiteState::Unexpected("an entry that does not exist");
    };
    let original = Code { bytes: expected.linked(to, live.len()), at: to };
    let mut forms = Vec::new();
    if copied(rules, original, live, to) {
        forms.push(None);
    }
    for (n, entry) in entries.iter().enumerate() {
        if replaced(rules, entry, original, live, to) {
            forms.push(Some(n));
        }
    }
    let conditions = |form: Option<usize>| {
        let behind = form.map_or(0, |n| n.saturating_add(1));
        let off = entries.iter().skip(behind).map(|entry| (entry.feature, entry.inverted));
        let on = form.and_then(|n| entries.get(n)).map(|entry| (entry.feature, !entry.inverted));
        off.chain(on)
    };
    match *forms {
        [] => return SiteState::Unexpected("none of the forms that its entries allow"),
        // A form shows the processor's features only if no other entry makes the same form.
        [form] => {
            for (feature, has) in conditions(form) {
                rules.votes.cast(Class::Feature(feature), has.into());
            }
        }
        _ => {}
    }
    let Some(majority) = rules.majority else { return SiteState::Expected };
    let agrees = |form: &Option<usize>| {
        conditions(*form).all(|(feature, has)| majority.allows(Class::Feature(feature), has.into()))
    };
    if forms.iter().any(agrees) { SiteState::Expected } else { SiteState::Unexpected(DISSENT) }
}

/// Whether `live` is a copy of `source`, in which other sites may already be rewritten.
fn copied(rules: &mut Rules<'_>, source: Code<'_>, live: &[u8], to: u32) -> bool {
    let expected = rules.expected;
    is_copy(source, live, to, &mut |from, live, to| {
        let site = expected.inner_site(from)?;
        let length = usize::from(site.length);
        // The caller needs only the form. A part must not vote before the whole is known.
        let votes = rules.votes.clone();
        let form = live.get(..length).map(|live| (rules.judge_inner)(rules, &site, live, to));
        rules.votes = votes;
        Some((length, form == Some(SiteState::Expected)))
    })
}

/// Whether `live` is the form that `entry` gives the place.
fn replaced(
    rules: &mut Rules<'_>,
    entry: &Alternative,
    original: Code<'_>,
    live: &[u8],
    to: u32,
) -> bool {
    let expected = rules.expected;
    if entry.direct_call {
        return is_direct_call(rules, original, live, to);
    }
    let length = usize::from(entry.replacement_length);
    let Some(bytes) = expected.replacement(entry.replacement, length) else { return false };
    copied(rules, Code { bytes, at: entry.replacement }, live, to)
}

/// Whether `live` directly calls the current target of the pointer that the original calls through.
fn is_direct_call(rules: &Rules<'_>, original: Code<'_>, live: &[u8], to: u32) -> bool {
    let known_symbols = &rules.expected.reference.tables.known_symbols;
    let [a, b, c, d] = match original.bytes {
        [first, second, a, b, c, d, ..] if [*first, *second] == INDIRECT_CALL => [*a, *b, *c, *d],
        _ => return false,
    };
    let distance = i32::from_le_bytes([a, b, c, d]);
    let slot =
        Place::from(to).saturating_add(INDIRECT_CALL_BYTES.into()).saturating_add(distance.into());
    let target = u32::try_from(slot).ok().and_then(|slot| rules.word(slot));
    let target = match target {
        // A call through an empty pointer becomes a call to `BUG_func`.
        Some(0) => known_symbols.bug,
        Some(virt) => rules.state.offset_of(virt),
        None => None,
    };
    let Some(target) = target else { return false };
    if known_symbols.nop == Some(target) {
        return nops::fill(live);
    }
    rules.expected.is_function(target)
        && decode(live, to)
            .is_some_and(|found| found.opcode == CALL && found.target == Place::from(target))
        && live.get(5..).is_some_and(nops::fill)
}
