//! What a node's kernel keeps outside its text: keys, function pointers, variables.

use crate::locate::{Kernel, page_tables};
use crate::memory::{Memory, VirtAddr};

/// A node's own memory, read while its text is judged. All of it may lie, and change.
pub struct State<'a> {
    memory: &'a dyn Memory,
    kernel: &'a Kernel,
}

/// What a virtual address of the node leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) bytes: Vec<u8>,
    /// Whether every page of it is executable.
    pub(super) executable: bool,
    /// Whether any page of it is writable at this address.
    pub(super) writable: bool,
}

impl<'a> State<'a> {
    /// The memory of a located kernel.
    #[must_use]
    pub fn of(memory: &'a dyn Memory, kernel: &'a Kernel) -> Self {
        Self { memory, kernel }
    }

    /// Bytes of the image, `offset` bytes behind `_stext`.
    pub(super) fn image<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let at = self.kernel.text.phys.checked_add(offset.into())?;
        self.memory.read(at, &mut bytes).ok()?;
        Some(bytes)
    }

    /// A 64-bit word of the image.
    pub(in crate::verify) fn word(&self, offset: u32) -> Option<u64> {
        Some(u64::from_le_bytes(self.image(offset)?))
    }

    /// A pointer of the image, as an image offset; `None` when it leads elsewhere.
    pub(super) fn pointer(&self, offset: u32) -> Option<u32> {
        self.offset_of(self.word(offset)?)
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

    /// Bytes at any virtual address of the kernel, page by page through its page tables. The
    /// caller bounds `length`.
    pub(super) fn at(&self, virt: u64, length: usize) -> Option<Outside> {
        let mut bytes = vec![0; length];
        let (mut executable, mut writable) = (true, false);
        let mut done = 0_usize;
        while done < length {
            let at = VirtAddr(virt.checked_add(done as u64)?);
            let (root, levels) = (self.kernel.page_table_root, self.kernel.paging_levels);
            let page = page_tables::translate(self.memory, root, levels, at)?;
            let rest = length.checked_sub(done)?;
            let count = usize::try_from(page.size).ok()?.min(rest);
            self.memory.read(page.phys, bytes.get_mut(done..done.checked_add(count)?)?).ok()?;
            executable &= page.executable;
            writable |= page.writable;
            done = done.checked_add(count)?;
        }
        Some(Outside { bytes, executable, writable })
    }

    /// A 64-bit word at a virtual address.
    pub(super) fn word_at(&self, virt: u64) -> Option<u64> {
        Some(u64::from_le_bytes(*self.at(virt, 8)?.bytes.first_chunk()?))
    }
}
