//! The state that a node's kernel keeps outside its text: keys, function pointers, variables.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::locate::Kernel;
use crate::locate::page_tables::{self, Run};
use crate::memory::{Memory, PAGE_SIZE, VirtAddr};

/// Number of pages whose mapping is cached. The lists of any kernel need fewer pages.
const MAX_MAPPED: usize = 1 << 14;
/// Number of pages whose mapping is looked up in one check: two for each entry of two lists that
/// are as long as can be. Each lookup reads one entry per level of the page tables, all over the
/// node's memory.
const MAX_LOOKUPS: u32 = 1 << 18;
/// Number of pages of code outside the image that are read in one check. A page holds 500 thunks,
/// and a kernel needs about ten thousand (7.2).
const MAX_CODE_PAGES: usize = 1024;

/// A node's own memory, read while its text is judged. The memory may be forged, and may change. A
/// state therefore serves for one check, and caches the mapping of each page.
pub struct State<'a> {
    memory: &'a dyn Memory,
    kernel: &'a Kernel,
    mapped: RefCell<BTreeMap<u64, Run>>,
    /// Number of lookups left. Without any left, only cached pages are mapped.
    left: Cell<u32>,
    /// Pages of code by their virtual address; `None` for a page that is not code.
    code: RefCell<BTreeMap<u64, Option<Vec<u8>>>>,
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

/// Why an address cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The kernel has not mapped it.
    Unmapped,
    /// It may be mapped, but no lookup is left.
    Bound,
    /// It is mapped, but the source does not have the memory.
    Source,
}

impl<'a> State<'a> {
    /// Takes the memory of a located kernel.
    #[must_use]
    pub fn of(memory: &'a dyn Memory, kernel: &'a Kernel) -> Self {
        let (mapped, code) = (RefCell::default(), RefCell::default());
        Self { memory, kernel, mapped, left: Cell::new(MAX_LOOKUPS), code }
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

    /// Why the word at a virtual address cannot be read.
    pub(super) fn fault(&self, virt: u64) -> Fault {
        let last = virt.saturating_add(7);
        match self.page(virt).and(self.page(last)) {
            Some(_) => Fault::Source,
            None if self.left.get() == 0 => Fault::Bound,
            None => Fault::Unmapped,
        }
    }

    /// Whether a page of code, executable and not writable, holds these bytes at a virtual address.
    /// Each page is read once.
    pub(super) fn is_code(&self, virt: u64, bytes: &[u8]) -> bool {
        const WITHIN: u64 = PAGE_SIZE - 1;
        let (page, start) = (virt & !WITHIN, (virt & WITHIN) as usize);
        let mut code = self.code.borrow_mut();
        let is_full = code.len() >= MAX_CODE_PAGES;
        if is_full && !code.contains_key(&page) {
            return false;
        }
        let content = code.entry(page).or_insert_with(|| {
            let content = self.at(page, PAGE_SIZE as usize)?;
            (content.executable && !content.writable).then_some(content.bytes)
        });
        let rest = content.as_ref().and_then(|content| content.get(start..));
        rest.is_some_and(|rest| rest.starts_with(bytes))
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
