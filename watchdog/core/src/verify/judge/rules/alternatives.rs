//! Alternatives: the kernel chooses one of several pieces of code by the processor's features
//! (`apply_alternatives()`, arch/x86/kernel/alternative.c, 5.10 to 7.2).
//!
//! The kernel applies the entries for one place in order, each over the last. The result is the
//! last entry whose condition holds, or the original with better NOPs. A processor has a feature or
//! lacks it, so all sites that depend on it must agree.

use super::super::Expected;
use super::super::agreement::Class;
use super::super::branch::{self, CALL, Place};
use super::super::code::{Code, is_copy};
use super::super::nops;
use super::call_sites::countable;
use super::context::{DISSENT, MAY_BE_FUNCTION, Rules, SiteState};
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
    let call = countable(rules, live, to);
    let mut forms = forms(rules, entries, live, to);
    if let (true, Some((function, true))) = (forms.is_empty(), call) {
        let plain = with_target(live, to, function);
        forms = plain.map_or(forms, |plain| self::forms(rules, entries, &plain, to));
    }
    let conditions = |form: Option<usize>| {
        let behind = form.map_or(0, |n| n.saturating_add(1));
        let off = entries.iter().skip(behind).map(|entry| (entry.feature, entry.inverted));
        let on = form.and_then(|n| entries.get(n)).map(|entry| (entry.feature, !entry.inverted));
        off.chain(on)
    };
    match *forms {
        [] if may_be_direct_call(rules, entries, live, to) => {
            return SiteState::NotJudged(MAY_BE_FUNCTION);
        }
        [] => return SiteState::Unexpected("none of the forms that its entries allow"),
        // A form shows the processor's features only if no other entry makes the same form.
        [form] => {
            for (feature, has) in conditions(form) {
                rules.votes.cast(Class::Feature(feature), has.into());
            }
        }
        _ => {}
    }
    // Some functions are never counted, and an image without symbols does not name them.
    let is_exempt = matches!(call, Some((_, false))) && expected.reference.symbols.is_nameless();
    if let (Some((_, is_counted)), &[Some(n)], false) = (call, forms.as_slice(), is_exempt) {
        let direct = entries.get(n).is_some_and(|entry| entry.direct_call);
        let vote = rules.vote(Class::CountedCall { direct }, is_counted.into());
        if vote != SiteState::Expected {
            return vote;
        }
    }
    let Some(majority) = rules.majority else { return SiteState::Expected };
    let agrees = |form: &Option<usize>| {
        conditions(*form).all(|(feature, has)| majority.allows(Class::Feature(feature), has.into()))
    };
    if forms.iter().any(agrees) { SiteState::Expected } else { SiteState::Unexpected(DISSENT) }
}

/// The forms that `live` may be: `None` for the original, or the number of the entry.
fn forms(
    rules: &mut Rules<'_>,
    entries: &[Alternative],
    live: &[u8],
    to: u32,
) -> Vec<Option<usize>> {
    let original = Code { bytes: rules.expected.linked(to, live.len()), at: to };
    let is_original = copied(rules, original, live, to);
    let replaced = entries
        .iter()
        .enumerate()
        .filter_map(|(n, entry)| replaced(rules, entry, original, live, to).then_some(Some(n)));
    is_original.then_some(None).into_iter().chain(replaced).collect()
}

/// The call at the start of `live`, with another target. A kernel that counts calls changes them
/// behind `apply_alternatives()` (`patch_alt_call_sites()`, 6.7 to 6.14), or in the replacements
/// before.
fn with_target(live: &[u8], to: u32, target: u32) -> Option<Vec<u8>> {
    const CALL_BYTES: i64 = 5;
    let distance = i64::from(target).checked_sub(i64::from(to).checked_add(CALL_BYTES)?)?;
    let distance = i32::try_from(distance).ok()?.to_le_bytes();
    let mut plain = live.to_vec();
    plain.get_mut(1..5)?.copy_from_slice(&distance);
    Some(plain)
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
        return is_direct_call(rules, original, live, to, Expected::is_function);
    }
    let length = usize::from(entry.replacement_length);
    let Some(bytes) = expected.replacement(entry.replacement, length) else { return false };
    copied(rules, Code { bytes, at: entry.replacement }, live, to)
}

/// Whether `live` is a direct call to a place where a function may begin.
fn may_be_direct_call(rules: &Rules<'_>, entries: &[Alternative], live: &[u8], to: u32) -> bool {
    let original = Code { bytes: rules.expected.linked(to, live.len()), at: to };
    entries.iter().any(|entry| entry.direct_call)
        && is_direct_call(rules, original, live, to, Expected::may_be_function)
}

/// Whether `live` directly calls the current target of the pointer that the original calls through,
/// which must be a function.
fn is_direct_call(
    rules: &Rules<'_>,
    original: Code<'_>,
    live: &[u8],
    to: u32,
    is_function: fn(&Expected, u32) -> bool,
) -> bool {
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
    if rules.expected.consists_of(target, &[]) && nops::fill(live) {
        return true;
    }
    is_function(rules.expected, target)
        && branch::is(live, to, CALL, target)
        && live.get(5..).is_some_and(nops::fill)
}
