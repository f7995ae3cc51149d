//! What KASLR changes in a kernel: the list of relocations behind the ELF file in a bzImage.
//!
//! arch/x86/tools/relocs.c writes the list. `handle_relocations()` of
//! arch/x86/boot/compressed/misc.c reads it backwards from the end. 32-bit places come first, up to
//! a zero. To 6.14, inverse 32-bit places of per-CPU references follow, up to a zero. 64-bit places
//! come last, up to a zero. Each place is the low half of a link address. The boot code changes the
//! word there by the distance that it moved the kernel.

use serde::{Deserialize, Serialize};

use crate::memory::VirtAddr;

/// Places where the image refers to its own address, in bytes from `_stext`, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocations {
    /// 32-bit words to which the distance is added.
    pub words: Vec<u32>,
    /// 32-bit words from which it is subtracted: per-CPU references relative to `%rip`.
    pub inverse: Vec<u32>,
    /// 64-bit words to which it is added.
    pub quads: Vec<u32>,
}

impl Relocations {
    /// Reads the bytes behind the ELF file. No bytes mean no relocations.
    pub(super) fn parse(bytes: &[u8], stext: VirtAddr) -> Result<Self, String> {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut values = words.iter().map(|word| u32::from_le_bytes(*word));
        if words.is_empty() && rest.is_empty() {
            return Ok(Self::default());
        }
        if !rest.is_empty() || values.next() != Some(0) {
            return Err("is followed by something that is not a list of relocations".to_owned());
        }
        let mut lists = vec![Vec::new()];
        for value in values {
            match lists.last_mut() {
                Some(list) if value != 0 => {
                    // Both are low halves of addresses in the same GiB.
                    list.push(value.wrapping_sub(stext.0 as u32));
                }
                _ => lists.push(Vec::new()),
            }
        }
        for list in &mut lists {
            list.sort_unstable();
        }
        match <[Vec<u32>; 3]>::try_from(lists) {
            Ok([quads, inverse, words]) => Ok(Self { words, inverse, quads }),
            Err(lists) => match <[Vec<u32>; 2]>::try_from(lists) {
                Ok([quads, words]) => Ok(Self { words, inverse: Vec::new(), quads }),
                Err(lists) => Err(format!("has {} lists of relocations, not 2 or 3", lists.len())),
            },
        }
    }

    /// Whether there are none, so that the image cannot be moved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.inverse.is_empty() && self.quads.is_empty()
    }

    /// The relocations whose places lie in the `size` bytes from `offset` on.
    #[must_use]
    pub fn within(&self, offset: u32, size: u32) -> Self {
        let part = |list: &[u32]| {
            let first = list.partition_point(|place| *place < offset);
            let end = list.partition_point(|place| *place < offset.saturating_add(size));
            list.get(first..end).unwrap_or_default().to_vec()
        };
        Self { words: part(&self.words), inverse: part(&self.inverse), quads: part(&self.quads) }
    }

    /// Moves `bytes` by `distance`. They begin `offset` bytes after `_stext`.
    pub fn apply(&self, bytes: &mut [u8], offset: u32, distance: u64) {
        // `handle_relocations()` adds an `unsigned long` to 32-bit words, which truncates it.
        let low = distance as u32;
        add::<4>(&self.words, bytes, offset, |word| {
            u32::from_le_bytes(word).wrapping_add(low).to_le_bytes()
        });
        add::<4>(&self.inverse, bytes, offset, |word| {
            u32::from_le_bytes(word).wrapping_sub(low).to_le_bytes()
        });
        add::<8>(&self.quads, bytes, offset, |quad| {
            u64::from_le_bytes(quad).wrapping_add(distance).to_le_bytes()
        });
    }
}

/// Changes the words at those `places` that lie in `bytes` as a whole.
fn add<const N: usize>(
    places: &[u32],
    bytes: &mut [u8],
    offset: u32,
    change: impl Fn([u8; N]) -> [u8; N],
) {
    for place in places {
        let place = place.checked_sub(offset).and_then(|place| usize::try_from(place).ok());
        let word = place.and_then(|place| bytes.get_mut(place..)?.first_chunk_mut::<N>());
        if let Some(word) = word {
            *word = change(*word);
        }
    }
}
