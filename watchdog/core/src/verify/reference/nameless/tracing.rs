//! What ftrace calls (arch/x86/kernel/ftrace_64.S).

use std::collections::BTreeMap;

use super::text::{CALL, Text};

/// Fewest function entries that show what they call.
const MIN_ENTRIES: usize = 16;
/// Most different targets that are counted. Distribution kernels have some thousand words that lead
/// to other calls.
const MAX_TARGETS: usize = 1 << 16;
/// The code of ftrace is within so many bytes of `__fentry__`.
const NEAR: u32 = 4096;
/// The names of its two calls, and of the functions that they are in.
const CALLS: [[&str; 2]; 2] =
    [["ftrace_call", "ftrace_caller"], ["ftrace_regs_call", "ftrace_regs_caller"]];

/// What most function entries call: `__fentry__`. The image lists the entries as words, and most
/// other words that lead to a call are none of its table.
pub(super) fn fentry(text: &Text<'_>) -> Option<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    let first = text.size.checked_next_multiple_of(8)?;
    let words = text.image.all().get(first as usize..)?.as_chunks::<8>().0;
    let entries = words.iter().filter_map(|word| text.offset_of(u64::from_le_bytes(*word)));
    for target in entries.filter_map(|entry| text.target(CALL, entry)) {
        if counts.len() >= MAX_TARGETS && !counts.contains_key(&target) {
            continue;
        }
        let count = counts.entry(target).or_default();
        *count = count.saturating_add(1);
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.filter(|(_, count)| *count >= MIN_ENTRIES).map(|(target, _)| target)
}

/// `__fentry__`, and the two calls in the code that traces. They call the function that does
/// nothing (`ftrace_stub`), which nothing else calls.
pub(super) fn names(text: &Text<'_>) -> Vec<(String, u32)> {
    let Some(fentry) = text.fentry else { return Vec::new() };
    let mut callers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for at in fentry..fentry.saturating_add(NEAR).min(text.size) {
        let target = text.target(CALL, at).filter(|target| target.abs_diff(fentry) < NEAR);
        let Some(target) = target.filter(|target| does_nothing(text, *target)) else { continue };
        callers.entry(target).or_default().push(at);
    }
    let mut names = vec![("__fentry__".to_owned(), fentry)];
    let mut stubs = callers.into_values().filter(|calls| calls.len() == CALLS.len());
    let (Some(calls), None) = (stubs.next(), stubs.next()) else {
        log::debug!("the calls of ftrace are not found behind `__fentry__`");
        return names;
    };
    for ([call, caller], at) in CALLS.into_iter().zip(calls) {
        names.push((call.to_owned(), at));
        let function = super::functions::start_before(text, at, fentry);
        names.extend(function.map(|function| (caller.to_owned(), function)));
    }
    names
}

/// Whether a function only returns. Before that, it may count the call.
fn does_nothing(text: &Text<'_>, function: u32) -> bool {
    const COUNTING: [u8; 9] = [0x90; 9];
    let at = text.behind_pad(function);
    let at = if text.code(at) == Some(COUNTING) { at.saturating_add(9) } else { at };
    text.is_return(at)
}
