//! Memory encryption: a bit of page-table entries that is not part of an address.
//!
//! With SME or SEV, the kernel sets one bit in the entries of encrypted memory: bit 47 or 51, by
//! the processor (`sme_me_mask`, arch/x86/mm/mem_encrypt_identity.c, 5.10 to 7.2).

use super::entry::{FRAME, entry_at};
use crate::memory::{Memory, PhysAddr};

/// The lowest bit that counts as one of encryption. No memory is at such an address (32 TiB).
const LOWEST: u32 = 45;
const HIGHEST: u32 = 51;

/// The encryption bit in the entries of `level3_kernel_pgt`; 0 if there is none.
///
/// Both tables that it leads to are in the image. A bit that both entries have is one of encryption
/// if no memory is that high, and the tables are in memory without it. Any other address stays as
/// it is, and leads to nothing.
pub(super) fn bit(memory: &dyn Memory, level3: PhysAddr) -> u64 {
    let entries = [510, 511].map(|n| entry_at(memory, level3, n));
    let [Some(image), Some(fixmap)] = entries else { return 0 };
    let frames = [image.0 & FRAME, fixmap.0 & FRAME];
    let is_memory = |at: u64| memory.ranges().find(PhysAddr(at)).is_some();
    let end = memory.ranges().ranges().last().map_or(u64::MAX, |range| range.end().0);
    let is_it = |bit: &u64| {
        *bit >= end && frames.iter().all(|frame| frame & bit != 0 && is_memory(frame & !bit))
    };
    (LOWEST..=HIGHEST).map(|n| 1 << n).find(is_it).unwrap_or_default()
}
