//! Bytes of a kernel's image, with their image offset.

use std::ops::Range;

/// Some bytes of a kernel's image, from an image offset on. A part of them keeps its image offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window<'a> {
    base: u32,
    bytes: &'a [u8],
}

impl<'a> Window<'a> {
    /// Makes a window whose first byte has the image offset `base`.
    pub(super) const fn new(base: u32, bytes: &'a [u8]) -> Self {
        Self { base, bytes }
    }

    /// Image offset of the first byte.
    pub(super) const fn base(self) -> u32 {
        self.base
    }

    /// Image offset right behind the last byte.
    pub(super) fn end(self) -> u32 {
        self.base.saturating_add(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX))
    }

    pub(super) const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The part within a range of image offsets; empty if there is none.
    pub(super) fn part(self, range: &Range<u32>) -> Self {
        let base = range.start.max(self.base);
        let place = |at: u32| at.saturating_sub(self.base) as usize;
        let bytes = self.bytes.get(place(base)..place(range.end.min(self.end())));
        Self { base, bytes: bytes.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a part of a part has its place in the whole, and that a part is cut at the ends.
    #[test]
    fn parts_keep_their_place() {
        let bytes: Vec<u8> = (0..16).collect();
        let whole = Window::new(0x100, &bytes);
        let part = whole.part(&(0x104..0x10c));
        assert_eq!((part.base(), part.bytes()), (0x104, &bytes[4..12]));
        assert_eq!(part.part(&(0x108..0x10a)), whole.part(&(0x108..0x10a)));
        assert_eq!(whole.part(&(0xf0..0x102)), Window::new(0x100, &bytes[..2]));
        assert_eq!(whole.part(&(0x10e..0x200)), Window::new(0x10e, &bytes[14..]));
        for nothing in [0..0x100, 0x110..0x200, 0x108..0x108, Range { start: 0x10a, end: 0x108 }] {
            assert!(whole.part(&nothing).bytes().is_empty(), "{nothing:x?}");
        }
    }
}
