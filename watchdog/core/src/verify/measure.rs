//! Reads kernel text page by page, in an unpredictable order.

use rand::seq::SliceRandom;

use crate::locate::Text;
use crate::memory::{Memory, PAGE_SIZE, PhysAddr, ReadError};

/// Largest kernel text that is accepted, far above any real one. Without a bound, a false size
/// could exhaust memory.
pub(super) const MAX_TEXT: u64 = 256 << 20;

/// Why text could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The size is not plausible.
    #[error("a kernel text of {0} bytes is not plausible")]
    Size(u64),
    /// The memory could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A copy of a text, as one pass read it. Later steps use the copy and do not read the memory
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextCopy(pub(super) Vec<u8>);

impl TextCopy {
    /// The bytes from `_stext` to `_etext`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The pages of the text; the last one ends at `_etext`.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.0.chunks(PAGE_SIZE as usize)
    }
}

/// The numbers `0..count` in a random order, from a generator that the operating system seeds. A
/// writer cannot know which page is read next, and so cannot hide a change by moving it.
pub(super) fn unpredictable_order(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rand::rng());
    order
}

/// Physical address and length in bytes of page `page` of a text.
pub(super) fn page_extent(text: &Text, page: usize) -> Option<(PhysAddr, usize)> {
    let offset = (page as u64).checked_mul(PAGE_SIZE)?;
    let length = text.size.checked_sub(offset)?.min(PAGE_SIZE);
    Some((text.phys.checked_add(offset)?, usize::try_from(length).ok()?))
}

/// Number of pages of a text of `size` bytes.
///
/// # Errors
/// [`MeasureError::Size`] when the text is empty or larger than any kernel's.
pub(super) fn page_count(size: u64) -> Result<usize, MeasureError> {
    if size == 0 || size > MAX_TEXT {
        return Err(MeasureError::Size(size));
    }
    usize::try_from(size.div_ceil(PAGE_SIZE)).map_err(|_| MeasureError::Size(size))
}

/// Copies a whole text out of memory, page by page in an unpredictable order.
///
/// # Errors
/// [`MeasureError`] when the size is not plausible or the text cannot be read.
pub fn copy_text(memory: &dyn Memory, text: &Text) -> Result<TextCopy, MeasureError> {
    let count = page_count(text.size)?;
    let mut bytes = vec![0; usize::try_from(text.size).map_err(|_| MeasureError::Size(text.size))?];
    let mut pages: Vec<(usize, &mut [u8])> =
        bytes.chunks_mut(PAGE_SIZE as usize).enumerate().collect();
    debug_assert_eq!(pages.len(), count);
    pages.shuffle(&mut rand::rng());
    for (page, buffer) in pages {
        let (at, _) = page_extent(text, page).ok_or(MeasureError::Size(text.size))?;
        memory.read(at, buffer)?;
    }
    Ok(TextCopy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that every page comes up exactly once, and that two sweeps use different orders.
    #[test]
    fn order_is_not_repeated() {
        let orders = [unpredictable_order(64), unpredictable_order(64)];
        assert_ne!(orders[0], orders[1]);
        for mut order in orders {
            order.sort_unstable();
            assert_eq!(order, (0..64).collect::<Vec<_>>());
        }
    }
}
