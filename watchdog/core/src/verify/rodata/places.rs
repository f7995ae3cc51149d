//! Places that differ, with a bounded number per page.

use std::ops::Range;

use crate::memory::PAGE_SIZE;
use crate::verify::difference::MAX_OF_PAGE;

/// A place by image offset, and what is wrong with it.
type Place = (Range<u32>, &'static str);

/// Places that are not as expected, ascending. If a page has more than [`MAX_OF_PAGE`], they become
/// one place from the first to the last. A place belongs to the page in which it begins.
#[derive(Debug, Default)]
pub(super) struct Places {
    found: Vec<Place>,
    /// Index of the first place of the last page, and the number of that page's places.
    first: usize,
    of_page: usize,
}

impl Places {
    /// Adds a place behind all others.
    pub(super) fn push(&mut self, place: Range<u32>, why: &'static str) {
        let page = |at: u32| u64::from(at) / PAGE_SIZE;
        let last = self.found.last().map(|(last, _)| page(last.start));
        if last != Some(page(place.start)) {
            (self.first, self.of_page) = (self.found.len(), 0);
        }
        self.of_page = self.of_page.saturating_add(1);
        if self.of_page <= MAX_OF_PAGE {
            self.found.push((place, why));
            return;
        }
        self.found.truncate(self.first.saturating_add(1));
        if let Some((all, _)) = self.found.last_mut() {
            all.end = place.end;
        }
    }
}

impl IntoIterator for Places {
    type Item = Place;
    type IntoIter = std::vec::IntoIter<Place>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a page with few places keeps them. Check that too many become one place from the
    /// first to the last.
    #[test]
    fn too_many_of_a_page() {
        let page = PAGE_SIZE as u32;
        let found = |counts: &[u32]| -> Vec<Range<u32>> {
            let mut places = Places::default();
            for (n, count) in (0..).zip(counts) {
                for place in 0..*count {
                    let at = n * page + 8 + place * 16;
                    places.push(at..at + 4, "");
                }
            }
            places.into_iter().map(|(place, _)| place).collect()
        };
        let most = MAX_OF_PAGE as u32;
        assert_eq!(found(&[most, most]).len(), 2 * MAX_OF_PAGE);
        let end = |n: u32, count: u32| n * page + 8 + (count - 1) * 16 + 4;
        let places = found(&[1, most + 1, 2, 200]);
        let begin = |n: u32| n * page + 8;
        let expected = [
            begin(0)..end(0, 1),
            begin(1)..end(1, most + 1),
            begin(2)..end(2, 1),
            begin(2) + 16..end(2, 2),
            begin(3)..end(3, 200),
        ];
        assert_eq!(places, expected);
    }
}
