//! Physical ranges and sets of them.

use std::fmt;
use std::str::FromStr;

use super::PhysAddr;

/// A non-empty physical range: `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysRange {
    start: PhysAddr,
    end: PhysAddr,
}

impl PhysRange {
    /// The range from `start` to `end` (exclusive), or `None` when it would be empty.
    #[must_use]
    pub fn new(start: PhysAddr, end: PhysAddr) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The range of `size` bytes from `start`, or `None` when empty or past the address space.
    #[must_use]
    pub fn with_size(start: PhysAddr, size: u64) -> Option<Self> {
        Self::new(start, start.checked_add(size)?)
    }

    /// The 4 KiB page that holds `at`, which must not lie in the last page of the address space.
    pub(super) const fn page_at(at: PhysAddr) -> Self {
        let start = at.page();
        Self { start, end: PhysAddr(start.0.saturating_add(super::PAGE_SIZE)) }
    }

    /// The range, extended to whole pages.
    pub(super) fn whole_pages(&self) -> Self {
        let end = self.end.0.checked_next_multiple_of(super::PAGE_SIZE);
        Self { start: self.start.page(), end: end.map_or(self.end, PhysAddr) }
    }

    /// First address.
    #[must_use]
    pub const fn start(&self) -> PhysAddr {
        self.start
    }

    /// First address behind the range.
    #[must_use]
    pub const fn end(&self) -> PhysAddr {
        self.end
    }

    /// Length in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(&self, at: PhysAddr) -> bool {
        self.start <= at && at < self.end
    }

    /// The common part, if any.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// Why a text is not a physical range.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RangeError {
    /// The text does not have the form `START..END`.
    #[error("invalid range `{0}`: write START..END, END exclusive, as in 0x38000000..0x50000000")]
    Form(String),
    /// One end is not a number.
    #[error("invalid address `{0}`: write it in hexadecimal (0x38000000) or decimal")]
    Number(String),
    /// The end is not above the start.
    #[error("the range {0} is empty: its END must be above its START")]
    Empty(String),
}

/// Parses an address: hexadecimal after `0x`, otherwise decimal. `_` may group digits.
///
/// # Errors
/// [`RangeError::Number`] if the text is neither, or does not fit 64 bits.
pub fn parse_address(text: &str) -> Result<PhysAddr, RangeError> {
    let digits = text.trim().replace('_', "");
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16),
        Some(_) => return Err(RangeError::Number(text.to_owned())),
        None if digits.starts_with('+') => return Err(RangeError::Number(text.to_owned())),
        None => digits.parse(),
    };
    parsed.map(PhysAddr).map_err(|_| RangeError::Number(text.to_owned()))
}

impl FromStr for PhysRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (start, end) =
            text.split_once("..").ok_or_else(|| RangeError::Form(text.to_owned()))?;
        Self::new(parse_address(start)?, parse_address(end)?)
            .ok_or_else(|| RangeError::Empty(text.to_owned()))
    }
}

/// Most ranges of a set that a sentence names; a dump may have thousands.
const IN_BRIEF: usize = 16;

/// A set of physical addresses: sorted, disjoint, non-adjacent ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet(Vec<PhysRange>);

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The ranges in ascending order.
    #[must_use]
    pub fn ranges(&self) -> &[PhysRange] {
        &self.0
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of bytes in the set.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.iter().map(PhysRange::size).sum()
    }

    /// Adds a range, and merges ranges that touch.
    pub fn insert(&mut self, range: PhysRange) {
        let mut merged = range;
        self.0.retain(|have| {
            let apart = have.end < merged.start || merged.end < have.start;
            if !apart {
                merged.start = merged.start.min(have.start);
                merged.end = merged.end.max(have.end);
            }
            apart
        });
        let at = self.0.partition_point(|have| have.start < merged.start);
        self.0.insert(at, merged);
    }

    /// The parts of `range` that are in the set, in ascending order.
    pub fn parts(&self, range: &PhysRange) -> impl Iterator<Item = PhysRange> + use<'_> {
        let range = *range;
        let first = self.0.partition_point(|have| have.end <= range.start);
        let from_there = self.0.get(first..).unwrap_or_default();
        from_there.iter().map_while(move |have| have.intersection(&range))
    }

    /// The addresses that are in `self` and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for range in &self.0 {
            let mut start = range.start;
            for hole in other.parts(range) {
                left.extend(PhysRange::new(start, hole.start));
                start = hole.end;
            }
            left.extend(PhysRange::new(start, range.end));
        }
        Self(left)
    }

    /// The addresses that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        // Parts never touch, because each set has a gap between two ranges.
        Self(self.0.iter().flat_map(|range| other.parts(range)).collect())
    }

    /// The first part of `range` that is not in the set, up to where the set continues.
    #[must_use]
    pub fn first_missing(&self, range: &PhysRange) -> Option<PhysRange> {
        let mut parts = self.parts(range);
        let Some(first) = parts.next() else { return Some(*range) };
        if range.start < first.start {
            return PhysRange::new(range.start, first.start);
        }
        let next = parts.next().map_or(range.end, |next| next.start);
        PhysRange::new(first.end, next)
    }

    /// Whether the whole of `range` is in the set.
    #[must_use]
    pub fn covers(&self, range: &PhysRange) -> bool {
        self.first_missing(range).is_none()
    }

    /// Whether any address of `range` is in the set.
    #[must_use]
    pub fn overlaps(&self, range: &PhysRange) -> bool {
        self.parts(range).next().is_some()
    }

    /// The set for a sentence: at most its first 16 ranges, and the number of the others.
    #[must_use]
    pub fn in_brief(&self) -> String {
        match self.0.get(..IN_BRIEF) {
            Some(first) if first.len() < self.0.len() => {
                let rest = self.0.len().saturating_sub(IN_BRIEF);
                format!("{} and {rest} more ranges", Self(first.to_vec()))
            }
            _ => self.to_string(),
        }
    }

    /// The range of the set that holds `at`.
    #[must_use]
    pub fn find(&self, at: PhysAddr) -> Option<&PhysRange> {
        let n = self.0.partition_point(|have| have.end <= at);
        self.0.get(n).filter(|have| have.contains(at))
    }
}

impl FromIterator<PhysRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = PhysRange>>(ranges: I) -> Self {
        let mut sorted: Vec<PhysRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup_by(|next, last| {
            let touch = next.start <= last.end;
            if touch {
                last.end = last.end.max(next.end);
            }
            touch
        });
        Self(sorted)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            write!(f, "{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        ranges
            .iter()
            .filter_map(|&(start, end)| PhysRange::new(PhysAddr(start), PhysAddr(end)))
            .collect()
    }

    /// Check that a set stays sorted and merges ranges that touch or overlap.
    #[test]
    fn insert_merges() {
        let mut grown = RangeSet::new();
        for (start, end) in [(8, 9), (0, 4), (4, 6), (5, 7)] {
            grown.insert(PhysRange { start: PhysAddr(start), end: PhysAddr(end) });
        }
        assert_eq!(grown.to_string(), "0x0..0x7,0x8..0x9");
        assert_eq!(set(&[(8, 9), (0, 4), (4, 6), (5, 7)]), grown);
    }

    /// Check that a sentence names all of a few ranges, and counts the rest of many.
    #[test]
    fn in_brief() {
        let many = |count: u64| -> RangeSet {
            (0..count).filter_map(|n| PhysRange::with_size(PhysAddr(n * 2), 1)).collect()
        };
        assert_eq!(many(0).in_brief(), "");
        assert_eq!(many(16).in_brief(), many(16).to_string());
        let expected = format!("{} and 99984 more ranges", many(16));
        assert_eq!(many(100_000).in_brief(), expected);
    }

    /// Check difference and intersection against membership of every single address.
    #[test]
    fn set_operations_agree_with_membership() {
        let a = set(&[(0, 5), (7, 12), (20, 24)]);
        let b = set(&[(1, 2), (4, 8), (11, 30)]);
        for at in (0..32).map(PhysAddr) {
            let (in_a, in_b) = (a.find(at).is_some(), b.find(at).is_some());
            assert_eq!(a.difference(&b).find(at).is_some(), in_a && !in_b, "{at}");
            assert_eq!(a.intersection(&b).find(at).is_some(), in_a && in_b, "{at}");
        }
    }

    /// Check the missing part, the coverage and the overlap of every small range against
    /// membership.
    #[test]
    fn missing_agrees_with_membership() {
        let a = set(&[(2, 5), (7, 12), (20, 24)]);
        for (start, end) in (0..28).flat_map(|start| (start + 1..28).map(move |end| (start, end))) {
            let range = PhysRange { start: PhysAddr(start), end: PhysAddr(end) };
            let absent = |at: &u64| a.find(PhysAddr(*at)).is_none();
            let missing = (start..end).find(absent).map(|first| {
                let last = (first..end).find(|at| !absent(at)).unwrap_or(end);
                PhysRange { start: PhysAddr(first), end: PhysAddr(last) }
            });
            assert_eq!(a.first_missing(&range), missing, "{range}");
            assert_eq!(a.covers(&range), (start..end).all(|at| !absent(&at)), "{range}");
            assert_eq!(a.overlaps(&range), (start..end).any(|at| !absent(&at)), "{range}");
            let parts: RangeSet = a.parts(&range).collect();
            assert_eq!(parts.size() as usize, (start..end).filter(|at| !absent(at)).count());
        }
    }

    /// Check that ranges parse in both bases, and that each mistake has its own error.
    #[test]
    fn parse() {
        assert_eq!(
            "0x1000..8192".parse(),
            Ok(PhysRange { start: PhysAddr(0x1000), end: PhysAddr(0x2000) })
        );
        assert!(matches!("0x1000".parse::<PhysRange>(), Err(RangeError::Form(_))));
        assert!(matches!("1..zz".parse::<PhysRange>(), Err(RangeError::Number(_))));
        assert!(matches!("0x+1..0x2".parse::<PhysRange>(), Err(RangeError::Number(_))));
        assert!(matches!("2..2".parse::<PhysRange>(), Err(RangeError::Empty(_))));
    }
}
