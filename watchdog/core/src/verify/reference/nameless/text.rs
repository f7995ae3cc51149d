//! The text of an image, as far as branches, returns and landing pads go.

use super::super::read::Table;
use crate::image::KernelImage;

pub(super) const CALL: u8 = 0xe8;
pub(super) const JMP: u8 = 0xe9;
const RET: u8 = 0xc3;
const INT3: u8 = 0xcc;
/// A prefix without effect on a branch, which compilers add to its longer form.
const CS: u8 = 0x2e;
pub(super) const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// Bytes of a direct call or jump.
const BRANCH: u32 = 5;

/// The text of an image, and what its functions call and return through.
pub(super) struct Text<'a> {
    pub(super) image: &'a KernelImage,
    /// Bytes of the text.
    pub(super) size: u32,
    /// The target of the calls at function entries, for ftrace.
    pub(super) fentry: Option<u32>,
    /// The target of the jumps that returns are linked to.
    pub(super) return_thunk: Option<u32>,
}

impl<'a> Text<'a> {
    pub(super) fn of(image: &'a KernelImage) -> Self {
        let size = u32::try_from(image.vendor.text_size()).unwrap_or(u32::MAX);
        Self { image, size, fentry: None, return_thunk: None }
    }

    /// The whole text.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.image.bytes(0, self.size).unwrap_or_default()
    }

    /// `N` bytes at an image offset, inside or outside of the text.
    pub(super) fn code<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.image.bytes(at, u32::try_from(N).ok()?)?.first_chunk().copied()
    }

    /// The `count` bytes that end at an image offset.
    pub(super) fn before(&self, at: u32, count: u32) -> Option<&'a [u8]> {
        self.image.bytes(at.checked_sub(count)?, count)
    }

    /// The target of this direct branch, with or without a `cs` prefix. It must be in the text.
    pub(super) fn target(&self, opcode: u8, at: u32) -> Option<u32> {
        let at = if self.code::<1>(at)? == [CS] { at.checked_add(1)? } else { at };
        let [found, a, b, c, d] = self.code(at)?;
        let target =
            at.checked_add(BRANCH)?.checked_add_signed(i32::from_le_bytes([a, b, c, d]))?;
        (found == opcode && target < self.size).then_some(target)
    }

    /// The target of a branch to a thunk: a call, a jump or a conditional jump.
    pub(super) fn branch(&self, at: u32) -> Option<u32> {
        let conditional = || {
            let [0x0f, 0x80..=0x8f, a, b, c, d] = self.code(at)? else { return None };
            let behind = at.checked_add(6)?;
            behind.checked_add_signed(i32::from_le_bytes([a, b, c, d]))
        };
        self.target(CALL, at).or_else(|| self.target(JMP, at)).or_else(conditional)
    }

    /// Whether a return is linked here.
    pub(super) fn is_return(&self, at: u32) -> bool {
        let thunk = self.target(JMP, at);
        (thunk.is_some() && thunk == self.return_thunk) || self.code(at) == Some([RET, INT3])
    }

    /// The place behind a landing pad.
    pub(super) fn behind_pad(&self, at: u32) -> u32 {
        if self.code(at) == Some(ENDBR64) { at.saturating_add(4) } else { at }
    }

    /// The place in front of a landing pad.
    pub(super) fn with_pad(&self, at: u32) -> u32 {
        let pad = self.before(at, 4).is_some_and(|before| before == ENDBR64);
        if pad { at.saturating_sub(4) } else { at }
    }

    /// The entries of a section that holds distances.
    pub(super) fn places(&self, section: &str) -> impl Iterator<Item = u32> + use<'a> {
        let section = self.image.section(section);
        let table = section.map_or(Table { offset: 0, bytes: &[] }, |section| Table {
            offset: section.offset,
            bytes: self.image.content(section),
        });
        table.entries(4).filter_map(|entry| entry.place(0))
    }

    /// The image offset in the text that a word of 64 bits leads to.
    pub(super) fn pointer(&self, at: u32) -> Option<u32> {
        self.offset_of(u64::from_le_bytes(self.code(at)?))
    }

    /// The image offset of an address in the text.
    pub(super) fn offset_of(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.image.vendor.text_virt().0)?;
        u32::try_from(offset).ok().filter(|offset| *offset < self.size)
    }
}

/// The one value of all; `None` if they differ, or if there are none.
pub(super) fn unanimous(values: impl IntoIterator<Item = u32>) -> Option<u32> {
    let mut values = values.into_iter();
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
