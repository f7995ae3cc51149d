//! One pass over memory for the signs that witnesses start from.

use super::bytes::{copy, u64_at};
use super::{kallsyms, page_tables, vmcoreinfo};
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, RangeSet, ReadError};

/// Bytes copied at a time: fits the second-level cache, so that each byte leaves memory once.
const CHUNK: usize = 1 << 20;
/// Bytes copied beyond a chunk, for what begins at its end.
const OVERLAP: usize = 8;
/// Signs of one kind that are followed; far more than any machine has kernels.
const MAX_SIGNS: usize = 256;

/// What the pass found.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Pages of the shape of `level3_kernel_pgt`.
    pub(super) level3: Vec<PhysAddr>,
    /// Where kallsyms' token index may begin.
    pub(super) token_indexes: Vec<PhysAddr>,
    /// Copies of pages that hold a VMCOREINFO note.
    pub(super) notes: Vec<Vec<u8>>,
}

/// Passes once over all of `within`.
pub(super) fn scan(
    memory: &dyn Memory,
    within: &RangeSet,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Signs, ReadError> {
    let total = within.size();
    let mut done = 0_u64;
    let mut signs = Signs::default();
    let mut chunk = vec![0; CHUNK.saturating_add(OVERLAP)];
    for range in within.ranges() {
        let mut at = range.start();
        while let Some(left) = range.end().checked_sub(at).filter(|left| *left > 0) {
            // Chunks begin on their own boundary, so that pages do not straddle them.
            let offset = usize::try_from(at.0).unwrap_or_default() & CHUNK.wrapping_sub(1);
            let length = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(CHUNK.saturating_sub(offset).saturating_add(OVERLAP));
            let Some(copied) = chunk.get_mut(..length) else { break };
            memory.read(at, copied)?;
            look(memory, at, copied, &mut signs);
            let step = (length as u64).min(CHUNK.saturating_sub(offset) as u64);
            let Some(next) = at.checked_add(step) else { break };
            at = next;
            done = done.saturating_add(step);
            progress(done, total);
        }
    }
    Ok(signs)
}

/// Looks at one chunk, whose first byte is at physical `at`.
fn look(memory: &dyn Memory, at: PhysAddr, chunk: &[u8], signs: &mut Signs) {
    let page_size = PAGE_SIZE as usize;
    // Up to the first page boundary there is only the end of a page that no sign begins in but
    // a token index; a range that starts inside a page is searched all the same.
    let lead = (at.page().0.wrapping_sub(at.0) as usize) & page_size.wrapping_sub(1);
    let mut offset = if lead == 0 { 0 } else { lead };
    if lead != 0 {
        tokens(memory, at, chunk.get(..lead).unwrap_or_default(), signs);
    }
    while let Some(rest) = chunk.get(offset..).filter(|rest| rest.len() > OVERLAP) {
        let Some(page_at) = at.checked_add(offset as u64) else { break };
        let whole = rest.get(..page_size);
        let with_overlap = rest.get(..page_size.saturating_add(OVERLAP)).or(whole).unwrap_or(rest);
        offset = offset.saturating_add(page_size);
        if is_zero(with_overlap) {
            continue;
        }
        if let Some(page) = whole {
            if page_tables::looks_like_level3(page) && signs.level3.len() < MAX_SIGNS {
                signs.level3.push(page_at);
            }
            if vmcoreinfo::looks_like_note(page) && signs.notes.len() < MAX_SIGNS {
                // A second copy would be of bytes that may have changed: this one is judged.
                signs.notes.push(page.to_vec());
            }
        }
        tokens(memory, page_at, with_overlap, signs);
    }
}

/// Whether all of a page is zero: most of an idle machine's memory is.
fn is_zero(page: &[u8]) -> bool {
    let (words, rest) = page.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

/// Finds where a token index may begin, at any multiple of four.
fn tokens(memory: &dyn Memory, at: PhysAddr, bytes: &[u8], signs: &mut Signs) {
    for (n, head) in bytes.windows(8).step_by(4).enumerate() {
        let head = u64_at(head, 0).unwrap_or_default();
        if !kallsyms::may_begin_index(head) || signs.token_indexes.len() >= MAX_SIGNS {
            continue;
        }
        let Some(index_at) = at.checked_add((n as u64).saturating_mul(4)) else { continue };
        let index = copy(memory, index_at, kallsyms::INDEX_BYTES);
        if index.is_some_and(|index| kallsyms::is_index(&index)) {
            signs.token_indexes.push(index_at);
        }
    }
}
