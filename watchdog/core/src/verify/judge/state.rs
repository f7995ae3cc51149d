//! The state that a node's kernel keeps outside its text: keys, function pointers, variables.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::locate::Kernel;
use crate::locate::page_tables::{self, Run};
use crate::memory::{Memory, PAGE_SIZE, VirtAddr};

/// Number of pages whose mapping is cached. The lists of any kernel need fewer pages.
const MAX_MAPPED: usize = 4096;
/// Number of pages whose mapping is looked up in one check. It is about ten times what a kernel
/// with thousands of programs and modules needs. Each lookup reads one entry per level of the page
/// tables, all over the node's memory.
const MAX_LOOKUPS: u32 = 1 << 16;

/// A node's own memory, read while its text is judged. The memory may be forged, and may change. A
/// state therefore serves for one check, and caches the mapping of each page.
pub struct State<'a> {
    memory: &'a dyn Memory,
    kernel: &'a Kernel,
    mapped: RefCell<BTreeMap<u64, Run>>,
    /// Number of lookups left. Without any left, only cached pages are mapped.
    left: Cell<u32>,
}

/// The contents of a range of virtual addresses in the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) bytes: Vec<u8>,
    /// Whether all pages of the range are executable.
    pub(super) executable: bool,
    /// Whether any page of the range is writable at this address.
    pub(super) writable: bool,
}

impl<'a> State<'a> {
    /// Takes the memory of a located kernel.
    #[must_use]
    pub fn of(memory: &'a dyn Memory, kernel: &'a Kernel) -> Self {
        Self { memory, kernel, mapped: RefCell::default(), left: Cell::new(MAX_LOOKUPS) }
    }

    /// Reads bytes of the image, `offset` bytes behind `_stext`.
    pub(super) fn image<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let at = self.kernel.text.phys.checked_add(offset.into())?;
        self.memory.read(at, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Reads any number of bytes of the image. The caller bounds `length`.
    pub(super) fn image_part(&self, offset: u32, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        let at = self.kernel.text.phys.checked_add(offset.into())?;
        self.memory.read(at, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Reads a 64-bit word of the image.
    pub(in crate::verify) fn word(&self, offset: u32) -> Option<u64> {
        Some(u64::from_le_bytes(self.image(offset)?))
    }

    /// The image offset of a virtual address within the image.
    pub(super) fn offset_of(&self, virt: u64) -> Option<u32> {
        let offset = VirtAddr(virt).checked_sub(self.kernel.text.virt)?;
        let size = self.kernel.image.end().checked_sub(self.kernel.text.phys)?;
        u32::try_from(offset).ok().filter(|_| offset < size)
    }

    /// The virtual address of a place relative to `_stext`.
    pub(super) fn virt_of(&self, place: i64) -> u64 {
        self.kernel.text.virt.0.wrapping_add_signed(place)
    }

    /// Reads bytes at any virtual address of the kernel, page by page through its page tables. The
    /// caller bounds `length`.
    pub(super) fn at(&self, virt: u64, length: usize) -> Option<Outside> {
        let mut bytes = vec![0; length];
        let (mut executable, mut writable) = (true, false);
        let mut done = 0_usize;
        while done < length {
            let at = virt.checked_add(done as u64)?;
            let page = self.page(at)?;
            let within = at.checked_sub(page.virt.0)?;
            let rest = length.checked_sub(done)?;
            let count = usize::try_from(page.size.checked_sub(within)?).ok()?.min(rest);
            let part = bytes.get_mut(done..done.checked_add(count)?)?;
            self.memory.read(page.phys.checked_add(within)?, part).ok()?;
            executable &= page.executable;
            writable |= page.writable;
            done = done.checked_add(count)?;
        }
        Some(Outside { bytes, executable, writable })
    }

    /// The page that contains a virtual address.
    fn page(&self, virt: u64) -> Option<Run> {
        const WITHIN: u64 = PAGE_SIZE - 1;
        let first = virt & !WITHIN;
        if let Some(page) = self.mapped.borrow().get(&first) {
            return Some(*page);
        }
        self.left.set(self.left.get().checked_sub(1)?);
        let tables = self.kernel.tables();
        let page = page_tables::translate(self.memory, &tables, VirtAddr(first))?;
        let mut mapped = self.mapped.borrow_mut();
        if mapped.len() >= MAX_MAPPED {
            mapped.clear();
        }
        mapped.insert(first, page);
        Some(page)
    }

    /// Reads a 64-bit word at a virtual address.
    pub(super) fn word_at(&self, virt: u64) -> Option<u64> {
        Some(u64::from_le_bytes(*self.at(virt, 8)?.bytes.first_chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::made_up::{OWN, Suspect};

    /// Check that after the last lookup, only cached pages are mapped.
    #[test]
    fn lookups_are_bounded() {
        let suspect = Suspect::new();
        let state = State::of(&suspect.machine, &suspect.kernel);
        assert!(state.at(OWN.0, 8).is_some() && state.at(0, 8).is_none());
        state.left.set(1);
        assert!(state.at(OWN.0 + PAGE_SIZE, 8).is_some());
        assert!(state.at(OWN.0 + 2 * PAGE_SIZE, 8).is_none());
        assert!(state.at(OWN.0 + 8, 8).is_some());
        assert_eq!(State::of(&suspect.machine, &suspect.kernel).left.get(), MAX_LOOKUPS);
    }
}
