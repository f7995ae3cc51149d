//! A node's kernel text at two times, read from the host's view of memory.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use anyhow::Result;

use crate::machine::Ram;
use crate::node_kernel::PAGE;
use crate::truth::Truth;

/// Two differences with fewer equal bytes in between count as one place: an operand often keeps
/// some bytes.
const GAP: usize = 4;

/// Reads a node's current kernel text.
///
/// # Errors
/// If there is no such memory.
pub fn read(ram: &Ram, truth: &Truth) -> Result<Vec<u8>> {
    let mut text = vec![0; usize::try_from(truth.text_phys_end - truth.text_phys_start)?];
    ram.read(truth.text_phys_start, &mut text)?;
    Ok(text)
}

/// Differences between two readings of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Number of bytes that differ.
    pub bytes: usize,
    /// Places that differ, as offsets in the text.
    pub places: Vec<Range<usize>>,
}

impl Changes {
    /// Returns the differences of two texts of equal length.
    #[must_use]
    pub fn between(before: &[u8], after: &[u8]) -> Self {
        let mut changes = Self::default();
        for (at, _) in before.iter().zip(after).enumerate().filter(|(_, (old, new))| old != new) {
            changes.bytes += 1;
            match changes.places.last_mut() {
                Some(place) if at < place.end + GAP => place.end = at + 1,
                _ => changes.places.push(at..at + 1),
            }
        }
        changes
    }

    /// Are both readings equal?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Returns the number of pages with a difference.
    #[must_use]
    pub fn pages(&self) -> usize {
        let page = |place: &Range<usize>| place.start as u64 / PAGE;
        self.places.iter().map(page).collect::<BTreeSet<_>>().len()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, places, pages) = (self.bytes, self.places.len(), self.pages());
        write!(f, "{bytes} bytes at {places} places on {pages} pages")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that neighbouring differences count as one place.
    #[test]
    fn differences_are_grouped() {
        let (before, mut after) = ([0; 9000], [0; 9000]);
        assert!(Changes::between(&before, &after).is_empty());
        (after[10], after[13], after[20], after[8999]) = (1, 1, 1, 1);
        let changes = Changes::between(&before, &after);
        assert_eq!(changes.places, [10..14, 20..21, 8999..9000]);
        assert_eq!(changes.to_string(), "4 bytes at 3 places on 2 pages");
    }
}
