//! Bounded reading of tables whose entries hold distances from their own place.

/// A table: its bytes, and their image offset.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) offset: u32,
    pub(super) bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// The entries of `size` bytes. An incomplete last entry is left out.
    pub(super) fn entries(self, size: usize) -> impl Iterator<Item = Self> + use<'a> {
        (0_u32..)
            .step_by(size)
            .zip(self.bytes.chunks_exact(size))
            .map(move |(at, bytes)| Table { offset: self.offset.wrapping_add(at), bytes })
    }

    /// The image offset that the 32-bit distance at `at` leads to, counted from its own place.
    pub(super) fn place(self, at: usize) -> Option<u32> {
        let distance = i32::from_le_bytes(self.array(at)?);
        let own = i64::from(self.offset).checked_add(i64::try_from(at).ok()?)?;
        u32::try_from(own.checked_add(distance.into())?).ok()
    }

    /// The same for a 64-bit distance.
    pub(super) fn far_place(self, at: usize) -> Option<u32> {
        let distance = i64::from_le_bytes(self.array(at)?);
        let own = i64::from(self.offset).checked_add(i64::try_from(at).ok()?)?;
        u32::try_from(own.checked_add(distance)?).ok()
    }

    pub(super) fn u64(self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.array(at)?))
    }

    pub(super) fn u16(self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.array(at)?))
    }

    pub(super) fn u8(self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }
}
