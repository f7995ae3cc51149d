//! Direct calls in a kernel that counts calls (`callthunks_patch_builtin_calls()`, since 6.2). Such
//! a call leads to the counting code in the padding before the function.

use super::super::branch::{CALL, Place, decode};
use super::super::cfi::{Mode, PREAMBLE};
use super::super::counting::Counting;
use super::super::site::Site;
use super::context::{Rules, SiteState};

/// The code that counts calls, if the kernel counts them.
fn counting<'a>(rules: &Rules<'a>) -> Option<&'a Counting> {
    let counting = rules.expected.counting.as_ref()?;
    let thunk = rules.expected.reference.tables.known_symbols.return_thunk;
    let chosen = thunk.and_then(|variable| rules.word(variable));
    counting.is_in_use(chosen, rules.state).then_some(counting)
}

/// Where a counted call of a function leads; `None` if the kernel does not count its calls.
pub(super) fn counted(rules: &Rules<'_>, function: u32) -> Option<u32> {
    let entry = counting(rules)?.entry(function)?;
    // With FineIBT, the padding holds the check of a hash.
    let fine = rules.expected.cfi.as_ref().and_then(|cfi| cfi.mode(rules.state));
    let preambles = &rules.expected.reference.tables.cfi;
    let has_check = fine == Some(Mode::FineIbt)
        && preambles.binary_search(&function.saturating_sub(PREAMBLE)).is_ok();
    (!has_check).then_some(entry)
}

/// Whether `live`, at image offset `to`, begins with the call of a function. A kernel that counts
/// calls leads it to the function's counting code (`callthunks_translate_call_dest()`).
pub(super) fn is_call(rules: &Rules<'_>, live: &[u8], to: u32, function: u32) -> bool {
    let target = counted(rules, function).unwrap_or(function);
    decode(live, to)
        .is_some_and(|branch| branch.opcode == CALL && branch.target == Place::from(target))
}

/// The function that a call at the start of `live` calls, and whether the call is counted; `None`
/// if the kernel does not count calls of the function.
pub(super) fn countable(rules: &Rules<'_>, live: &[u8], to: u32) -> Option<(u32, bool)> {
    let target = decode(live, to).filter(|branch| branch.opcode == CALL)?.target;
    let target = u32::try_from(target).ok()?;
    let counting = counting(rules)?;
    match counting.function(target) {
        Some(function) => Some((function, true)),
        None => counting.entry(target).map(|_| (target, false)),
    }
}

pub(super) fn judge(rules: &Rules<'_>, site: &Site, live: &[u8], to: u32) -> SiteState {
    let linked = rules.expected.linked(site.at, site.length.into());
    let target = decode(linked, site.at).map(|branch| branch.target);
    let found = decode(live, to).filter(|branch| branch.opcode == CALL).map(|call| call.target);
    let (Some(target), Some(found)) = (target, found) else {
        return SiteState::Unexpected("not a call");
    };
    let function = u32::try_from(target).ok();
    match function.and_then(|function| counted(rules, function)) {
        Some(entry) if found == Place::from(entry) => SiteState::Expected,
        Some(_) if found == target && rules.expected.reference.symbols.is_nameless() => {
            SiteState::NotJudged(
                "the image does not name the functions whose calls are not counted",
            )
        }
        Some(_) if found == target => {
            SiteState::Unexpected("a call that is not counted, but the kernel counts calls")
        }
        None if found == target => SiteState::Expected,
        None if is_padding(rules, function, found) => SiteState::Unexpected(
            "a call into a function's padding, but the kernel does not count calls",
        ),
        _ => SiteState::Unexpected("a call to another function"),
    }
}

/// Whether a call leads to the place where calls of the function would be counted.
fn is_padding(rules: &Rules<'_>, function: Option<u32>, found: Place) -> bool {
    let entry = |function| rules.expected.counting.as_ref()?.entry(function);
    function.and_then(entry).is_some_and(|entry| found == Place::from(entry))
}

/// The padding before a function: as linked, or the code that counts a call. The kernel writes the
/// code when it leads the first call there.
pub(super) fn judge_padding(rules: &Rules<'_>, live: &[u8], to: u32) -> SiteState {
    if rules.expected.linked(to, live.len()) == live {
        return SiteState::Expected;
    }
    match &rules.expected.counting {
        Some(counting) if counting.is_copy(live, to) => {}
        _ => return SiteState::Unexpected("neither padding nor the code that counts a call"),
    }
    if counting(rules).is_some() {
        SiteState::Expected
    } else {
        SiteState::Unexpected("code that counts a call, but the kernel does not count calls")
    }
}
