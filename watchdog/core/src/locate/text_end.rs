//! The end of the text, as the kernel's own code has it.
//!
//! Several functions compare an address with `_etext` (`core_kernel_text`, kernel/extable.c, and
//! the unwinder). The address is an immediate operand of `cmp`, which KASLR relocates. Debian's
//! 6.1, 6.12 and 7.2 have 7, 15 and 8 of them. Another address in the last page of the text occurs
//! twice at most. Where only one witness knows the size to the byte, they must not contradict it.

use std::collections::BTreeMap;

use memchr::memchr2_iter;

use super::bytes::{copy, u32_at};
use super::{Budget, Text};
use crate::memory::{Memory, PAGE_SIZE};

/// Largest text that is read.
const MAX_READ: u64 = 64 << 20;
/// Bytes read at a time, and bytes of the longest instruction looked for.
const CHUNK: u64 = 1 << 20;
const LONGEST: u64 = 7;
/// Fewest comparisons that count. Chance makes one or two.
const ENOUGH: u32 = 3;

/// The size of a text, by most of the comparisons with an address in its last page. `None` if there
/// are too few.
pub(super) fn compared(memory: &dyn Memory, text: &Text, budget: &mut Budget) -> Option<u64> {
    let last_page = text.size.checked_sub(1)? / PAGE_SIZE;
    let mut sizes: BTreeMap<u64, u32> = BTreeMap::new();
    let read = text.size.min(MAX_READ);
    let mut at = 0_u64;
    while at < read {
        let length = CHUNK.saturating_add(LONGEST).min(read.saturating_sub(at));
        let length = usize::try_from(length).ok()?;
        budget.spend(length)?;
        let bytes = copy(memory, text.phys.checked_add(at)?, length)?;
        for address in comparisons(&bytes) {
            // The text ends far below 4 GiB behind its start.
            let size = u64::from(address.wrapping_sub(low(text.virt.0)));
            if size.checked_sub(1).is_some_and(|last| last / PAGE_SIZE == last_page) {
                let count = sizes.entry(size).or_default();
                *count = count.saturating_add(1);
            }
        }
        at = at.saturating_add(CHUNK);
    }
    let (size, count) = sizes.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= ENOUGH).then_some(size)
}

/// The lower half of a word.
const fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// Immediate operands of instructions that compare a 64-bit register: `48 3d imm32`, and `48 81` or
/// `49 81` with a second byte from `f8` on.
fn comparisons(code: &[u8]) -> impl Iterator<Item = u32> + '_ {
    memchr2_iter(0x81, 0x3d, code).filter_map(|at| {
        let prefix = *code.get(at.checked_sub(1)?)?;
        match *code.get(at)? {
            0x3d if prefix == 0x48 => u32_at(code, at.checked_add(1)?),
            0x81 if prefix & 0xfe == 0x48 && *code.get(at.checked_add(1)?)? >= 0xf8 => {
                u32_at(code, at.checked_add(2)?)
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::made_up::{FIRST, Machine};
    use super::*;
    use crate::memory::{PhysAddr, VirtAddr};

    /// Check that comparisons in code give the end of the text, unless there are too few.
    #[test]
    fn what_code_compares_with() {
        let machine = Machine::with(FIRST);
        let compared = |size| {
            let text = Text { phys: PhysAddr(FIRST.text), virt: VirtAddr(FIRST.virt), size };
            compared(&machine, &text, &mut Budget::for_memory(0))
        };
        for size in [FIRST.text_size, FIRST.text_size + 1, FIRST.text_size - 0x100] {
            assert_eq!(compared(size), Some(FIRST.text_size));
        }
        assert_eq!(compared(FIRST.text_size + 0x1000), None);
        machine.write(FIRST.compares(), &[0x90; 14]);
        assert_eq!(compared(FIRST.text_size), None);
    }
}
