//! Where a text is not what it should be.

use serde::Serialize;

use super::judge::Mechanism;
use crate::memory::{PhysAddr, VirtAddr};

/// Equal bytes between two changed ones that are still told as one difference: one rewritten
/// instruction (at most 15 bytes) should not fall apart because some of its bytes are the same.
const GAP: usize = 8;

/// Differences of one page that are reported one by one. A page of which more differs was
/// overwritten: then all that lies between the first and the last is one difference.
pub(super) const MAX_OF_PAGE: usize = 32;

/// What is thought of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// A form that closed tables allow.
    Patched,
    /// A tracer, a probe or a program that the kernel itself knows of.
    Instrumented,
    /// No rule explains it.
    Unexplained,
}

/// One stretch of text that differs from the baseline, or from what the kernel's state says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Physical address of its first byte.
    pub phys: PhysAddr,
    /// The node's own virtual address of it.
    pub virt: VirtAddr,
    /// `symbol+0x15`; foreign text where the baseline was learned.
    pub symbol: Option<String>,
    /// The mechanism whose site it is, or that did it.
    pub mechanism: Option<Mechanism>,
    /// What is thought of it.
    pub judgement: Judgement,
    /// Why it is unexplained, or who is behind it.
    pub note: String,
    /// The bytes the baseline has.
    pub expected: Vec<u8>,
    /// The bytes found: as many.
    pub found: Vec<u8>,
    /// The instructions these bytes are, or are part of, as expected and as found.
    pub expected_asm: String,
    /// See `expected_asm`.
    pub found_asm: String,
}

/// The differing stretches (offset and length) of two equally long byte strings, ascending.
pub(super) fn stretches<'a>(
    expected: &'a [u8],
    found: &'a [u8],
) -> impl Iterator<Item = (usize, usize)> + 'a {
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
        while let Some(next) = differing.next_if(|next| next.saturating_sub(last) <= GAP) {
            last = next;
        }
        Some((start, last.saturating_sub(start).saturating_add(1)))
    })
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
}
