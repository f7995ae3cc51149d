//! A kernel's symbols by image offset.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::locate::Symbols;
use crate::memory::VirtAddr;

/// Largest symbol offset that is stored. Images have up to 1 GiB.
const MAX_OFFSET: u64 = 1 << 30;
/// Largest total length of all names in bytes. Distribution kernels have about 5 MB.
const MAX_NAMES: usize = 32 << 20;
/// The name of the text in an image without symbols. It begins at image offset 0.
const TEXT: &str = "text";
/// Number of symbols at one offset that are searched for a function.
const MAX_ALIASES: usize = 16;

/// Symbols of code and data, ascending by image offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct ImageSymbols {
    offsets: Vec<u32>,
    /// The type letter that `nm` shows.
    #[serde(with = "serde_bytes")]
    kinds: Vec<u8>,
    starts: Vec<u32>,
    names: String,
    /// Numbers of the symbols, sorted by name. A hash table is not used: the node chooses the
    /// names, and many could have the same hash.
    by_name: Vec<u32>,
}

/// The stored form of [`ImageSymbols`].
#[derive(Deserialize)]
struct Stored {
    offsets: Vec<u32>,
    #[serde(with = "serde_bytes")]
    kinds: Vec<u8>,
    starts: Vec<u32>,
    names: String,
    /// Not used: the index is built again on load.
    _by_name: Vec<u32>,
}

impl From<Stored> for ImageSymbols {
    fn from(stored: Stored) -> Self {
        let Stored { offsets, kinds, starts, names, .. } = stored;
        let symbols = Self { offsets, kinds, starts, names, by_name: Vec::new() };
        // Without this order, names could overlap. Each could be as long as all names together, and
        // as slow to compare.
        if symbols.starts.is_sorted() { symbols.indexed() } else { symbols }
    }
}

impl ImageSymbols {
    /// The type letter of a section's start, in an image without symbols.
    pub(super) const SECTION: u8 = b'S';

    /// Adds symbols in any order. At one place, those that are there already come first.
    #[must_use]
    pub(super) fn with(&self, more: Vec<(u8, String, u32)>) -> Self {
        let named = self.iter().map(|(name, kind, at)| (kind, name.to_owned(), at));
        let mut all: Vec<(u8, String, u32)> = named.chain(more).collect();
        all.sort_by_key(|(.., at)| *at);
        Self::from_ascending(all)
    }

    /// Whether the image has no symbols. Its functions are known without their names.
    #[must_use]
    pub fn is_nameless(&self) -> bool {
        self.by_name.first().is_some_and(|first| self.name(*first as usize).is_empty())
    }

    /// Whether variables and the bounds of data are named.
    pub(super) fn has_data(&self) -> bool {
        self.address("__start_rodata").is_some() && self.address("__end_rodata").is_some()
    }

    /// Takes the symbols of a table, from `stext` on. The table may be a node's, and a symbol
    /// without a name is left out: only an image without symbols has functions without names.
    #[must_use]
    pub fn of(symbols: &Symbols, stext: VirtAddr) -> Self {
        let offset = |at: VirtAddr| {
            let offset = at.checked_sub(stext).filter(|offset| *offset < MAX_OFFSET)?;
            u32::try_from(offset).ok()
        };
        Self::from_ascending(
            symbols
                .iter()
                .filter(|(_, name, _)| !name.is_empty())
                .filter_map(|(kind, name, at)| Some((kind, name, offset(at)?))),
        )
    }

    /// Builds the list from type letters, names and ascending image offsets. A symbol out of order
    /// is left out. So is a symbol whose name exceeds the bound on all names.
    #[must_use]
    pub fn from_ascending(symbols: impl IntoIterator<Item = (u8, String, u32)>) -> Self {
        let mut kept = Self::default();
        for (kind, name, offset) in symbols {
            let ascends = kept.offsets.last().is_none_or(|last| *last <= offset);
            let fits = kept.names.len().saturating_add(name.len()) <= MAX_NAMES;
            let start = u32::try_from(kept.names.len());
            let (true, Ok(start)) = (ascends && fits, start) else { continue };
            kept.offsets.push(offset);
            kept.kinds.push(kind);
            kept.starts.push(start);
            kept.names.push_str(&name);
        }
        kept.indexed()
    }

    /// Builds the index by name. Of several symbols with one name, the first comes first.
    fn indexed(mut self) -> Self {
        let count = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        let mut by_name: Vec<u32> = (0..count).collect();
        by_name.sort_by_key(|n| self.name(*n as usize));
        self.by_name = by_name;
        self
    }

    /// Whether the parts fit each other. A caller that deserialises symbols must check this.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let count = self.offsets.len();
        count == self.kinds.len()
            && count == self.starts.len()
            && count == self.by_name.len()
            && self.offsets.is_sorted()
            && self.starts.is_sorted()
            && self.starts.iter().all(|start| self.names.is_char_boundary(*start as usize))
    }

    fn name(&self, n: usize) -> &str {
        let start = self.starts.get(n).copied().unwrap_or_default() as usize;
        let end =
            self.starts.get(n.saturating_add(1)).map_or(self.names.len(), |end| *end as usize);
        self.names.get(start..end).unwrap_or_default()
    }

    /// Every symbol: its name, type letter and offset.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u8, u32)> {
        (0..).zip(&self.offsets).zip(&self.kinds).map(|((n, at), kind)| (self.name(n), *kind, *at))
    }

    /// The image offset of a symbol. Of several with one name, it is the first.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u32> {
        let first = self.by_name.partition_point(|n| self.name(*n as usize) < name);
        let n = *self.by_name.get(first)? as usize;
        self.offsets.get(n).copied().filter(|_| self.name(n) == name)
    }

    /// The offset of the first symbol behind this offset.
    pub(super) fn next_after(&self, offset: u32) -> Option<u32> {
        let next = self.offsets.partition_point(|have| *have <= offset);
        self.offsets.get(next).copied()
    }

    /// The first name at exactly this offset.
    #[must_use]
    pub fn at(&self, offset: u32) -> Option<&str> {
        let first = self.offsets.partition_point(|have| *have < offset);
        let name = (self.offsets.get(first) == Some(&offset)).then(|| self.name(first));
        name.filter(|name| !name.is_empty())
    }

    /// Whether a function begins at this offset, judged by the first 16 symbols there.
    #[must_use]
    pub fn is_function(&self, offset: u32) -> bool {
        let first = self.offsets.partition_point(|have| *have < offset);
        let here = self.offsets.iter().zip(&self.kinds).skip(first);
        here.take_while(|(have, _)| **have == offset)
            .take(MAX_ALIASES)
            .any(|(_, kind)| matches!(kind, b't' | b'T' | b'W' | b'w'))
    }

    /// Whether the last symbol at or before this offset is a function.
    pub(super) fn is_code(&self, offset: u32) -> bool {
        let behind = self.offsets.partition_point(|have| *have <= offset);
        let kind = behind.checked_sub(1).and_then(|last| self.kinds.get(last));
        kind.is_some_and(|kind| matches!(kind, b't' | b'T' | b'W' | b'w'))
    }

    /// The offsets of all functions below `end`, ascending and without duplicates.
    pub fn functions(&self, end: u32) -> impl Iterator<Item = u32> {
        let mut last = None;
        self.iter()
            .take_while(move |(.., at)| *at < end)
            .filter(|(_, kind, _)| matches!(kind, b't' | b'T' | b'W' | b'w'))
            .map(|(.., at)| at)
            .filter(move |at| last.replace(*at) != Some(*at))
    }

    /// A section, up to the next one, in an image without symbols.
    pub(in crate::verify) fn section(&self, name: &str) -> Option<Range<u32>> {
        let mut sections = self.iter().filter(|(_, kind, _)| *kind == Self::SECTION);
        let (.., start) = sections.find(|(have, ..)| *have == name)?;
        let (.., end) = sections.next()?;
        Some(start..end)
    }

    /// Where the last symbol at or before an offset begins.
    pub(in crate::verify) fn start_before(&self, offset: u32) -> Option<u32> {
        let behind = self.offsets.partition_point(|have| *have <= offset);
        self.offsets.get(behind.checked_sub(1)?).copied()
    }

    /// The last symbol at or before an offset, and the distance to it, as in `name+0x15`. In an
    /// image without symbols, it is the section, as in `text+0x81e0`.
    #[must_use]
    pub fn lookup(&self, offset: u32) -> Option<(&str, u32)> {
        let last = self.start_before(offset)?;
        if self.is_nameless() && last != offset {
            let behind = self.offsets.partition_point(|have| *have <= offset);
            let kinds = self.kinds.get(..behind)?;
            let section = kinds.iter().rposition(|kind| *kind == Self::SECTION);
            let section = section.and_then(|n| Some((self.name(n), *self.offsets.get(n)?)));
            let (name, start) = section.unwrap_or((TEXT, 0));
            return Some((name, offset.checked_sub(start)?));
        }
        let first = self.offsets.partition_point(|have| *have < last);
        let name = self.name(first);
        let (name, start) = if name.is_empty() { (TEXT, 0) } else { (name, last) };
        Some((name, offset.checked_sub(start)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(named: &[(u8, &str, u32)]) -> ImageSymbols {
        let named = named.iter().map(|(kind, name, at)| (*kind, (*name).to_owned(), *at));
        ImageSymbols::from_ascending(named)
    }

    /// Check that each name is found, and of two symbols with one name the first. Check that the
    /// index is correct after loading, whatever index was stored.
    #[test]
    fn by_name() {
        let made = symbols(&[(b't', "b", 1), (b't', "a", 2), (b't', "b", 3), (b't', "ab", 4)]);
        let mut stored = made.clone();
        stored.by_name.reverse();
        let stored = postcard::to_stdvec(&stored).unwrap();
        let loaded: ImageSymbols = postcard::from_bytes(&stored).unwrap();
        assert_eq!(loaded, made);
        let address = |name| loaded.address(name);
        assert_eq!(["a", "b", "ab"].map(address), [Some(2), Some(1), Some(4)]);
        assert_eq!(["", "aa", "c"].map(address), [None; 3]);
    }

    /// Check that a name that exceeds the bound is left out, and that all names that fit are
    /// stored.
    #[test]
    fn names_beyond_the_bound() {
        let long = "x".repeat(MAX_NAMES / 2);
        let all =
            symbols(&[(b't', &long, 1), (b't', &long[1..], 2), (b't', "ab", 3), (b't', "c", 4)]);
        assert!(all.is_sound() && all.names.len() == MAX_NAMES);
        assert_eq!(["ab", "c"].map(|name| all.address(name)), [None, Some(4)]);
    }

    /// Check that a function is found among a few symbols at its offset. Check that the search is
    /// bounded if an offset has many symbols.
    #[test]
    fn many_aliases() {
        let at = |before: usize| {
            let data = vec![(b'd', "alias", 8); before];
            symbols(&[data, vec![(b't', "function", 8)]].concat()).is_function(8)
        };
        assert!(at(0) && at(MAX_ALIASES - 1) && !at(MAX_ALIASES));
    }
}
