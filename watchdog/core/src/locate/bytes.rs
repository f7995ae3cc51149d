//! Bounded reads of foreign bytes.

use crate::memory::{Memory, PhysAddr};

/// A little-endian `u16` at `offset`.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(array_at(bytes, offset)?))
}

/// A little-endian `u32` at `offset`.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(array_at(bytes, offset)?))
}

/// A little-endian `u64` at `offset`.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(array_at(bytes, offset)?))
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// A copy of `length` bytes at physical `at`; `None` if the source does not hold them.
///
/// The caller bounds `length`.
pub(super) fn copy(memory: &dyn Memory, at: PhysAddr, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    memory.read(at, &mut bytes).ok()?;
    Some(bytes)
}
