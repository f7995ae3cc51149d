//! Differences between a text and its baseline.

use serde::Serialize;

use super::judge::Mechanism;
use crate::memory::{PhysAddr, VirtAddr};

/// Largest number of equal bytes between two changed bytes of one difference. A rewritten
/// instruction has at most 15 bytes, and some of them may be unchanged. It should still be one
/// difference.
const GAP: usize = 8;

/// Number of differences of one page that are reported one by one. A page with more was
/// overwritten. Everything from its first to its last changed byte is then one difference.
pub(super) const MAX_OF_PAGE: usize = 32;

/// The judgement of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// A form that the kernel's closed tables allow.
    Patched,
    /// A change by a tracer, a probe or a program that the kernel itself lists.
    Instrumented,
    /// A change at a site that cannot be judged.
    NotJudged,
    /// A change that no rule explains.
    Unexplained,
}

/// A stretch of text that differs from the baseline, or contradicts the kernel's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Physical address of its first byte.
    pub phys: PhysAddr,
    /// Virtual address of its first byte in the node's kernel.
    pub virt: VirtAddr,
    /// `symbol+0x15`. With a learned baseline, this is untrusted text from the node.
    pub symbol: Option<String>,
    /// The mechanism that the site belongs to, or that made the change.
    pub mechanism: Option<Mechanism>,
    /// The judgement.
    pub judgement: Judgement,
    /// Why the difference is unexplained, or what caused it.
    pub note: String,
    /// The bytes in the baseline.
    pub expected: Vec<u8>,
    /// The bytes found, equally many.
    pub found: Vec<u8>,
    /// The instructions that contain the expected bytes.
    pub expected_asm: String,
    /// The instructions that contain the bytes found.
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

    /// Check that nearby changes are one difference and distant changes are two.
    #[test]
    fn grouping() {
        let expected = [0_u8; 64];
        let mut found = expected;
        for at in [3, 3 + GAP, 40] {
            found[at] = 1;
        }
        let reported: Vec<_> = stretches(&expected, &found).collect();
        assert_eq!(reported, [(3, GAP + 1), (40, 1)]);
        assert_eq!(stretches(&expected, &expected).count(), 0);
    }
}
