//! Mapped windows of a memory device.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::MmapRaw;

use super::{PhysAddr, PhysRange, revoked};

/// Most windows that stay mapped: 16 GiB. Pointers in a node's memory therefore cannot make each
/// read map another window. A window costs at most 128 KiB of page tables.
pub(super) const WINDOWS_KEPT: usize = 256;

/// The mapped windows, by their first address.
#[derive(Debug, Default)]
pub(super) struct Windows {
    pub(super) kept: BTreeMap<PhysAddr, Kept>,
    /// Number of window uses so far.
    uses: u64,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) window: Arc<Window>,
    /// The value of `uses` at the last use of this window.
    used: u64,
}

/// A part of memory that is mapped in one piece.
#[derive(Debug)]
pub(super) struct Window {
    range: PhysRange,
    mapping: MmapRaw,
    /// Whether the kernel revoked any page of it.
    is_gone: AtomicBool,
}

impl Windows {
    /// Finds the window that holds `at`, and marks it as used.
    pub(super) fn find(&mut self, at: PhysAddr) -> Option<Arc<Window>> {
        let (_, kept) = self.kept.range_mut(..=at).next_back()?;
        if !kept.window.range.contains(at) {
            return None;
        }
        self.uses = self.uses.saturating_add(1);
        kept.used = self.uses;
        Some(Arc::clone(&kept.window))
    }

    /// Adds a window, marked as used. Drops the least recently used one if there are too many.
    pub(super) fn keep(&mut self, window: &Arc<Window>) {
        if self.kept.len() >= WINDOWS_KEPT {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            let oldest = oldest.map(|(start, _)| *start);
            oldest.and_then(|start| self.kept.remove(&start));
        }
        self.uses = self.uses.saturating_add(1);
        let kept = Kept { window: Arc::clone(window), used: self.uses };
        self.kept.insert(window.range.start(), kept);
    }
}

impl Window {
    /// A window that is just mapped.
    pub(super) const fn new(range: PhysRange, mapping: MmapRaw) -> Self {
        Self { range, mapping, is_gone: AtomicBool::new(false) }
    }

    /// Copies the part of `buffer` that the window holds from `at` on, and returns its length.
    /// `None` if the kernel revoked the mapping.
    pub(super) fn copy(&self, at: PhysAddr, buffer: &mut [u8]) -> Option<usize> {
        let offset = at.checked_sub(self.range.start()).and_then(|at| usize::try_from(at).ok());
        let Some((offset, left)) =
            offset.and_then(|offset| Some((offset, self.mapping.len().checked_sub(offset)?)))
        else {
            return Some(0);
        };
        let count = buffer.len().min(left);
        let buffer = buffer.get_mut(..count)?;
        // SAFETY: `offset + count` is within the mapping, which lives as long as `self` and is
        // private to it. Another kernel owns the source and may change it during the copy. The
        // source is therefore copied by pointer, and never borrowed as a slice.
        unsafe { revoked::copy(self.mapping.as_ptr().add(offset), buffer, &self.is_gone) };
        (!self.is_gone.load(Ordering::SeqCst)).then_some(count)
    }
}
