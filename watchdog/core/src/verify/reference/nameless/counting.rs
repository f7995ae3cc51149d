//! Call depth tracking: the template of the code that counts a call, and the thunk that returns
//! (arch/x86/kernel/callthunks.c and arch/x86/lib/retpoline.S, since 6.2).

use super::text::{Text, unanimous};
use crate::verify::reference::tables;

pub(super) const RETURN_THUNK: &str = "call_depth_return_thunk";
/// `sarq $5,DEPTH(%rip)` with the prefix of a per-CPU variable, up to its distance. It counts a
/// call. The form with an absolute address is that of kernels whose per-CPU data is linked at 0.
const COUNT: [&[u8]; 2] = [&[0x65, 0x48, 0xc1, 0x3d], &[0x65, 0x48, 0xc1, 0x3c, 0x25]];
/// The same for `shlq $5`, with which a return counts.
const RETURN: [&[u8]; 2] = [&[0x65, 0x48, 0xc1, 0x25], &[0x65, 0x48, 0xc1, 0x24, 0x25]];
/// Behind the distance: the 5, and in a return `jz 1f; ret; int3`.
const BY: [u8; 1] = [5];
const AND_RETURN: [u8; 5] = [5, 0x74, 0x02, 0xc3, 0xcc];
/// Bytes of a distance.
const DISTANCE: u32 = 4;

/// An instruction that counts: its image offset, its bytes, and the variable.
struct Count {
    at: u32,
    length: u32,
    variable: i64,
}

/// `call_depth_return_thunk`: the only code that counts a return and then returns.
pub(super) fn return_thunk(text: &Text<'_>) -> Option<u32> {
    let places = RETURN.iter().flat_map(|form| memchr::memmem::find_iter(text.bytes(), *form));
    let counts = places.filter_map(|at| count(text, u32::try_from(at).ok()?, &RETURN, &AND_RETURN));
    unanimous(counts.map(|count| text.with_pad(count.at)))
}

/// The bounds of `skl_call_thunk_template`, in read-only data. It counts as the alternatives do
/// that are only NOPs as linked, so it is the only such instruction there.
pub(super) fn template(text: &Text<'_>) -> Vec<(u8, String, u32)> {
    let find = || {
        let alternatives = tables::alternatives_of(text.image).ok()?;
        let replaced = alternatives
            .iter()
            .filter_map(|entry| count(text, entry.replacement, &COUNT, &BY))
            .find(|count| count.at >= text.size)?;
        let rodata = text.image.section(".rodata")?;
        let bytes = text.image.content(rodata);
        let places = COUNT.iter().flat_map(|form| memchr::memmem::find_iter(bytes, *form));
        let counts = places
            .filter_map(|at| rodata.offset.checked_add(u32::try_from(at).ok()?))
            .filter_map(|at| count(text, at, &COUNT, &BY))
            .filter(|count| count.variable == replaced.variable);
        let start = unanimous(counts.map(|count| count.at))?;
        Some((start, start.checked_add(replaced.length)?))
    };
    let Some((start, end)) = find() else { return Vec::new() };
    let names = [("skl_call_thunk_template", start), ("skl_call_thunk_tail", end)];
    names.map(|(name, at)| (b'D', name.to_owned(), at)).into()
}

/// The instruction of one of these forms at a place, with this behind its distance.
fn count(text: &Text<'_>, at: u32, forms: &[&[u8]], behind: &[u8]) -> Option<Count> {
    let bytes = |at: u32, like: &[u8]| text.image.bytes(at, u32::try_from(like.len()).ok()?);
    let form = forms.iter().find(|form| bytes(at, form) == Some(**form))?;
    let distance_at = at.checked_add(u32::try_from(form.len()).ok()?)?;
    let distance = i64::from(i32::from_le_bytes(text.code(distance_at)?));
    let last = distance_at.checked_add(DISTANCE)?;
    if bytes(last, behind) != Some(behind) {
        return None;
    }
    let end = last.checked_add(1)?;
    // The longer form has an absolute address.
    let is_relative = forms.first() == Some(form);
    let variable = if is_relative { distance.checked_add(end.into())? } else { distance };
    Some(Count { at, length: end.checked_sub(at)?, variable })
}
