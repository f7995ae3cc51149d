//! Finds the tables, backwards from the token index, by their shapes.

use super::super::budget::Budget;
use super::super::bytes::{copy, u16_at, u32_at};
use super::names::{MAX_TOKEN, Names, Tokens};
use crate::memory::{Memory, PhysAddr};

/// Bytes of the token index.
pub(in crate::locate) const INDEX_BYTES: usize = 512;

/// Most symbols that are believed; real kernels have 100,000 to 250,000.
const MAX_SYMBOLS: u32 = 1 << 20;
/// Fewest symbols of a kernel.
const MIN_SYMBOLS: u32 = 1000;
/// Symbols between two markers (scripts/kallsyms.c).
const MARKER_STEP: usize = 256;
/// Most bytes from the start of the markers to the tokens. Between them are three bytes for each
/// symbol (`kallsyms_seqs_of_names`, from 6.2 and in stable kernels before).
const MARKERS_WITHIN: u64 = 4 << 20;
/// With so many markers or more, a table may begin further away.
const MANY_MARKERS: usize = 32;
/// Most bytes that 256 names may take: the largest distance between two markers that is believed.
const MAX_STEP_BYTES: u32 = 512 * MARKER_STEP as u32;
/// Bytes before the token table that may hold markers, names and sequence numbers.
const MAX_TABLES: u64 = 32 << 20;

/// Whether 512 bytes are a token index: 256 ascending `u16`, from 0 on.
pub(in crate::locate) fn is_index(index: &[u8]) -> bool {
    let entry = |n: usize| u16_at(index, n.saturating_mul(2));
    entry(0) == Some(0)
        && (1..256).all(|n: usize| {
            let step = entry(n.saturating_sub(1)).and_then(|low| entry(n)?.checked_sub(low));
            step.is_some_and(|step| (2..=MAX_TOKEN).contains(&step.into()))
        })
}

/// The token table right before its index, found by the end of its last token.
pub(super) fn token_table(
    memory: &dyn Memory,
    index_at: PhysAddr,
    index: &[u8],
) -> Option<(PhysAddr, Tokens)> {
    let last = usize::from(u16_at(index, INDEX_BYTES.checked_sub(2)?)?);
    // The last token ends here, before up to seven bytes of padding.
    let longest = last.checked_add(MAX_TOKEN)?.checked_add(7)?;
    let start = index_at.0.saturating_sub(longest as u64);
    let before =
        copy(memory, PhysAddr(start), usize::try_from(index_at.0.checked_sub(start)?).ok()?)?;
    (last.checked_add(2)?..=before.len()).find_map(|length| {
        let at = PhysAddr(index_at.0.checked_sub(length as u64)?);
        let table = before.get(before.len().checked_sub(length)?..)?;
        Some((at, at.0.is_multiple_of(4).then(|| Tokens::new(table, index))??))
    })
}

/// The compressed names before the token table, and the physical address of their number, which
/// stands right before them.
///
/// The markers (and, 6.2 to 6.3, sequence numbers) are between the names and the token table.
/// Markers begin with 0 and ascend, one for each 256 names. The search tries each place that could
/// be their beginning, nearest first.
pub(super) fn names(
    memory: &dyn Memory,
    tokens_at: PhysAddr,
    tokens: &Tokens,
    budget: &mut Budget,
) -> Option<(PhysAddr, Names)> {
    let floor = memory.ranges().find(tokens_at)?.start();
    let mut window = 256_u64 << 10;
    let mut any_markers = false;
    // Most tables fit the first windows.
    while window <= MAX_TABLES {
        let start = PhysAddr(tokens_at.0.saturating_sub(window)).max(floor);
        let length = usize::try_from(tokens_at.checked_sub(start)?).ok()?;
        budget.spend(length)?;
        let before = copy(memory, start, length)?;
        if let Some((offset, names)) = names_within(&before, tokens, budget, &mut any_markers) {
            return Some((start.checked_add(offset as u64)?, names));
        }
        // Names that need a larger window have markers in this one. Without markers, this is the
        // remnant of a copy, not a table.
        if start == floor || (window >= MARKERS_WITHIN && !any_markers) {
            return None;
        }
        window = window.checked_mul(4)?;
    }
    None
}

fn names_within(
    before: &[u8],
    tokens: &Tokens,
    budget: &mut Budget,
    any_markers: &mut bool,
) -> Option<(usize, Names)> {
    let mut at = before.len().checked_sub(8)? & !3;
    while at > 0 {
        at = at.saturating_sub(4);
        // `markers[0]` is 0, and `markers[1]` is the length of 256 short names.
        if u32_at(before, at) != Some(0) {
            continue;
        }
        let first = u32_at(before, at.saturating_add(4))?;
        if !(MARKER_STEP as u32..=MAX_STEP_BYTES).contains(&first) {
            continue;
        }
        if let Some(found) = names_before(before, at, tokens, budget, any_markers) {
            return Some(found);
        }
        if budget.is_exhausted() {
            return None;
        }
    }
    None
}

/// The names that end at `markers`, and the offset of their number, which stands right before them.
fn names_before(
    before: &[u8],
    markers: usize,
    tokens: &Tokens,
    budget: &mut Budget,
    any_markers: &mut bool,
) -> Option<(usize, Names)> {
    let marker_count = marker_count(before, markers);
    budget.spend(marker_count.saturating_mul(4))?;
    if marker_count < (MIN_SYMBOLS as usize).div_ceil(MARKER_STEP) {
        return None;
    }
    *any_markers |= marker_count >= MANY_MARKERS;
    // The names are as long as the last marker says, and up to 256 names more. The word after the
    // markers may look like one more, so one fewer is tried as well.
    for used in [marker_count, marker_count.saturating_sub(1)] {
        let last = u32_at(before, markers.saturating_add(used.checked_sub(1)?.saturating_mul(4)))?;
        let Some(most) = markers.checked_sub(usize::try_from(last).ok()?) else { continue };
        let least = most.saturating_sub(MAX_STEP_BYTES as usize);
        budget.spend(most.saturating_sub(least))?;
        let mut names_at = most & !3;
        while names_at >= least.max(8) {
            for gap in [4, 8] {
                let count = u32_at(before, names_at.saturating_sub(gap)).unwrap_or_default();
                let expected = (count as usize).div_ceil(MARKER_STEP);
                if !(MIN_SYMBOLS..=MAX_SYMBOLS).contains(&count) || expected != used {
                    continue;
                }
                let bytes = before.get(names_at..markers)?;
                budget.spend(bytes.len())?;
                if let Some(names) = Names::new(bytes, count, tokens)
                    && names.agree_with(before.get(markers..)?, MARKER_STEP)
                {
                    return Some((names_at.saturating_sub(gap), names));
                }
            }
            names_at = names_at.saturating_sub(4);
        }
    }
    None
}

/// The number of words from `markers` on that ascend as markers do, including the first.
fn marker_count(before: &[u8], markers: usize) -> usize {
    let most = (MAX_SYMBOLS as usize).div_ceil(MARKER_STEP).saturating_add(1);
    let (mut last, mut count) = (0, 1_usize);
    while count < most
        && let Some(marker) = u32_at(before, markers.saturating_add(count.saturating_mul(4)))
        && marker > last
        && marker.saturating_sub(last) <= MAX_STEP_BYTES
    {
        last = marker;
        count = count.saturating_add(1);
    }
    count
}
