//! Where a text is not what it should be.

use serde::Serialize;

use crate::locate::Text;
use crate::memory::{PhysAddr, VirtAddr};

/// Equal bytes between two changed ones that are still told as one difference: one rewritten
/// instruction (at most 15 bytes) should not fall apart because some of its bytes are the same.
const GAP: usize = 8;

/// What is thought of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// No rule explains it.
    Unexplained,
}

/// One stretch of text that differs from the baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Physical address of its first byte.
    pub phys: PhysAddr,
    /// The node's own virtual address of it.
    pub virt: VirtAddr,
    /// The bytes the baseline has.
    pub expected: Vec<u8>,
    /// The bytes found: as many.
    pub found: Vec<u8>,
    /// What is thought of it.
    pub judgement: Judgement,
}

/// The differing stretches (offset and length) of two equally long byte strings, ascending.
fn stretches<'a>(expected: &'a [u8], found: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let mut differing = expected
        .iter()
        .zip(found)
        .enumerate()
        .filter(|(_, (expected, found))| expected != found)
        .map(|(offset, _)| offset)
        .peekable();
    std::iter::from_fn(move || {
        let start = differing.next()?;
        let mut last = start;
        while let Some(next) = differing.next_if(|next| next - last <= GAP) {
            last = next;
        }
        Some((start, last - start + 1))
    })
}

/// All differences of a page at `offset` bytes into the text, none of them explained.
pub(super) fn of_page(text: &Text, offset: u64, expected: &[u8], found: &[u8]) -> Vec<Difference> {
    stretches(expected, found)
        .filter_map(|(start, length)| {
            let at = offset.checked_add(start as u64)?;
            Some(Difference {
                phys: text.phys.checked_add(at)?,
                virt: text.virt.checked_add(at)?,
                expected: expected.get(start..start + length)?.to_vec(),
                found: found.get(start..start + length)?.to_vec(),
                judgement: Judgement::Unexplained,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that changes near each other are one difference and distant ones are two.
    #[test]
    fn grouping() {
        let expected = [0_u8; 64];
        let mut found = expected;
        for at in [3, 3 + GAP, 40] {
            found[at] = 1;
        }
        let told: Vec<_> = stretches(&expected, &found).collect();
        assert_eq!(told, [(3, GAP + 1), (40, 1)]);
        assert_eq!(stretches(&expected, &expected).count(), 0);
    }

    /// Check that a difference carries both addresses and both byte strings.
    #[test]
    fn addresses() {
        let text = Text { phys: PhysAddr(0x1000), virt: VirtAddr(0xffff_ffff_8100_0000), size: 64 };
        let differences = of_page(&text, 16, &[1, 2, 3], &[1, 9, 3]);
        assert_eq!(
            differences,
            [Difference {
                phys: PhysAddr(0x1011),
                virt: VirtAddr(0xffff_ffff_8100_0011),
                expected: vec![2],
                found: vec![9],
                judgement: Judgement::Unexplained,
            }]
        );
    }
}
