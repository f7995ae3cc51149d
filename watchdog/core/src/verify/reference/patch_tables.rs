//! Notices patch tables that no rule knows.
//!
//! A kernel lists its tables in the section headers of its image, and as pairs of symbols
//! (`__start_…`, `__stop_…`). A table whose entries lead into the text may be a patch table. If
//! this version does not know its name, the places that its entries lead to are not judged. The
//! list comes from the image, or from the memory that was learned: a node cannot extend it later.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ImageSymbols;
use super::known_tables::{Known, known};
use super::read::Table;
use crate::image::KernelImage;
use crate::verify::instruction::instruction_at;

/// Most tables that are examined. Distribution kernels have about 150 sections and pairs.
const MAX_TABLES: usize = 1024;
/// Most bytes of the tables that are examined together.
const MAX_BYTES: usize = 64 << 20;
/// Most sites of unknown tables together. Distribution kernels have 290,000 call sites.
const MAX_SITES: usize = 1 << 20;
/// Farthest place from the start of its function. Beyond that, decoding starts at the place.
const MAX_FUNCTION: u32 = 64 << 10;

/// A patch table that no rule knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownTable {
    /// The name of its section, or of its pair of symbols.
    pub name: String,
    /// The sites, ascending: image offset, and bytes to the end of the instruction there.
    pub sites: Vec<(u32, u8)>,
}

/// A table whose entries lead into the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchTable {
    /// The name of its section, or of its pair of symbols.
    pub name: String,
    /// What it is, if this version knows.
    pub known: Option<Known>,
    /// The places in the text that its entries lead to, ascending.
    pub places: Vec<u32>,
}

/// A part of the kernel that may be a table, by name and range.
type Candidate = (String, Range<u32>);

/// The form of an entry's first field.
#[derive(Clone, Copy)]
enum Field {
    /// Four bytes, relative to the entry.
    Distance,
    /// An address of eight bytes.
    Address,
}

/// The forms of entries: the first field, and the bytes of an entry. Entries with an address are
/// tried first, because the upper half of an address is not a distance.
const FORMS: [(Field, usize); 13] = [
    (Field::Address, 8),
    (Field::Address, 16),
    (Field::Address, 24),
    (Field::Address, 32),
    (Field::Distance, 4),
    (Field::Distance, 8),
    (Field::Distance, 12),
    (Field::Distance, 13),
    (Field::Distance, 14),
    (Field::Distance, 16),
    (Field::Distance, 20),
    (Field::Distance, 24),
    (Field::Distance, 32),
];

/// Sections of code besides the text. They have few symbols.
const CODE: [&str; 4] = [".init.text", ".exit.text", ".altinstr_aux", ".altinstr_replacement"];

/// The tables of an image whose entries lead into its text, known or not.
pub(super) fn of_image(image: &KernelImage, symbols: &ImageSymbols) -> Vec<PatchTable> {
    let sections = image.sections().iter().map(|section| {
        let end = section.offset.saturating_add(section.size);
        (section.name.clone(), section.offset..end)
    });
    let link_address = image.vendor.text_virt().0;
    let text = u32::try_from(image.vendor.text_size()).unwrap_or(u32::MAX);
    let code = CODE.iter().filter_map(|name| image.section(name));
    let code = code.map(|it| it.offset..it.offset.saturating_add(it.size)).collect();
    let look = Look { symbols, link_address, text, code };
    look.tables(sections.chain(pairs(symbols)), &mut |range| {
        let size = range.end.checked_sub(range.start)?;
        image.bytes(range.start, size).map(<[u8]>::to_vec)
    })
}

/// The tables of a kernel in memory. Only pairs of symbols are known there. What the kernel frees
/// after boot is left out: it patches nothing any more.
pub(super) fn of_memory(
    symbols: &ImageSymbols,
    link_address: u64,
    text: u32,
    read: &mut dyn FnMut(Range<u32>) -> Option<Vec<u8>>,
) -> Vec<PatchTable> {
    let freed = symbols.address("__init_begin").zip(symbols.address("__init_end"));
    let freed = freed.map_or(0..0, |(start, end)| start..end);
    let kept = pairs(symbols).filter(|(_, range)| !freed.contains(&range.start));
    Look { symbols, link_address, text, code: Vec::new() }.tables(kept, read)
}

/// The tables that no rule knows, with their sites.
pub(super) fn unknown(
    tables: Vec<PatchTable>,
    symbols: &ImageSymbols,
    text: &[u8],
) -> Vec<UnknownTable> {
    let unknown = tables.into_iter().filter(|table| table.known.is_none());
    let mut left = MAX_SITES;
    unknown
        .map(|PatchTable { name, mut places, .. }| {
            places.truncate(left);
            left = left.saturating_sub(places.len());
            UnknownTable { name, sites: sites(&places, symbols, text) }
        })
        .collect()
}

/// The sites at ascending places: from each place to the end of the instruction that contains it.
fn sites(places: &[u32], symbols: &ImageSymbols, text: &[u8]) -> Vec<(u32, u8)> {
    // Decoding continues from the last place in the same function.
    let mut last: Option<(u32, u32)> = None;
    let site = |at: &u32| {
        let function =
            symbols.start_before(*at).filter(|start| at.abs_diff(*start) <= MAX_FUNCTION);
        let function = function.unwrap_or(*at);
        let from = last.filter(|(of, _)| *of == function).map_or(function, |(_, begin)| begin);
        let (begin, length) = instruction_at(text, from, *at);
        last = Some((function, begin));
        let length = begin.checked_add(length)?.checked_sub(*at)?;
        Some((*at, u8::try_from(length).ok().filter(|length| *length > 0)?))
    };
    places.iter().filter_map(site).collect()
}

/// Every pair of symbols `__start_…` and `__stop_…` or `__end_…`.
fn pairs(symbols: &ImageSymbols) -> impl Iterator<Item = Candidate> {
    symbols.iter().filter_map(|(name, _, start)| {
        let table = name.strip_prefix("__start_")?;
        let end = ["__stop_", "__end_"]
            .iter()
            .find_map(|prefix| symbols.address(&format!("{prefix}{table}")))?;
        (start < end).then(|| (table.to_owned(), start..end))
    })
}

/// What decides whether a table leads into the text.
struct Look<'a> {
    symbols: &'a ImageSymbols,
    /// The address of `_stext`, in the addresses of tables.
    link_address: u64,
    /// Bytes of the text.
    text: u32,
    /// Other code of the image.
    code: Vec<Range<u32>>,
}

impl Look<'_> {
    /// Examines the tables, whose bytes `read` returns. A section and a pair for one table are one.
    fn tables(
        &self,
        candidates: impl Iterator<Item = Candidate>,
        read: &mut dyn FnMut(Range<u32>) -> Option<Vec<u8>>,
    ) -> Vec<PatchTable> {
        let mut seen = BTreeMap::new();
        let mut left = MAX_BYTES;
        for (name, range) in candidates.take(MAX_TABLES) {
            let size = range.end.saturating_sub(range.start) as usize;
            // The text itself is not a table.
            if range.start < self.text || seen.contains_key(&range.start) || size > left {
                continue;
            }
            left = left.saturating_sub(size);
            let Some(bytes) = read(range.clone()) else { continue };
            let table = Table { offset: range.start, bytes: &bytes };
            if let Some(places) = self.places(table) {
                seen.insert(range.start, PatchTable { known: known(&name), name, places });
            }
        }
        seen.into_values().collect()
    }

    /// Whether code is at this place outside the text.
    fn is_code(&self, place: u32) -> bool {
        self.code.iter().any(|part| part.contains(&place)) || self.symbols.is_code(place)
    }

    /// The places in the text that a table's entries lead to; `None` if it is not such a table.
    fn places(&self, table: Table<'_>) -> Option<Vec<u32>> {
        FORMS.iter().find_map(|(field, size)| self.places_by(table, *field, *size))
    }

    /// The same, for one form of entries. Every entry must lead into code, and one into the text.
    /// Empty entries do not count: the linker fills a table up with them.
    fn places_by(&self, table: Table<'_>, field: Field, size: usize) -> Option<Vec<u32>> {
        if table.bytes.len().checked_rem(size) != Some(0) {
            return None;
        }
        let mut places = Vec::new();
        let entries = table.entries(size);
        for entry in entries.filter(|entry| entry.bytes.iter().any(|byte| *byte != 0)) {
            let place = match field {
                Field::Distance => entry.place(0)?,
                Field::Address => {
                    u32::try_from(entry.u64(0)?.checked_sub(self.link_address)?).ok()?
                }
            };
            if place < self.text {
                places.push(place);
            } else if !self.is_code(place) {
                return None;
            }
        }
        places.sort_unstable();
        places.dedup();
        (!places.is_empty()).then_some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u32 = 0x100;
    const LINK: u64 = 0xffff_ffff_8100_0000;

    /// The tables that are found between `__start_NAME` and `__stop_NAME` at 0x1000.
    fn found(name: &str, bytes: &[u8]) -> Vec<PatchTable> {
        let stop = 0x1000 + u32::try_from(bytes.len()).unwrap();
        let symbols = [
            (b't', "function".to_owned(), 0),
            (b't', "_sinittext".to_owned(), 0x800),
            (b'd', "_einittext".to_owned(), 0x900),
            (b'd', format!("__start_{name}"), 0x1000),
            (b'd', format!("__stop_{name}"), stop),
        ];
        let symbols = ImageSymbols::from_ascending(symbols);
        of_memory(&symbols, LINK, TEXT, &mut |range| {
            (range == (0x1000..stop)).then(|| bytes.to_vec())
        })
    }

    /// Entries of `size` bytes that begin with a distance to each place.
    fn distances(places: &[u32], size: usize) -> Vec<u8> {
        let entry = |(n, place): (usize, &u32)| {
            let at = 0x1000 + u32::try_from(n * size).unwrap();
            [&place.wrapping_sub(at).to_le_bytes(), &vec![0xff; size - 4][..]].concat()
        };
        places.iter().enumerate().flat_map(entry).collect()
    }

    /// Check that tables are found by where their entries lead, whatever the size of an entry.
    #[test]
    fn by_structure() {
        let places = [8, 0x20, 0x40, 0x85, 0x99, 0xa0, 0xa1];
        for size in [4, 8, 12, 13, 14, 16, 20, 24, 32] {
            let tables = found("new_sites", &distances(&places, size));
            let [table] = &tables[..] else { panic!("{size}: {tables:?}") };
            assert_eq!(
                (&*table.name, table.known, &table.places[..]),
                ("new_sites", None, &places[..])
            );
        }
        let addresses = |at: &u32| (LINK + u64::from(*at)).to_le_bytes();
        let addresses: Vec<u8> = places.iter().flat_map(addresses).collect();
        assert_eq!(found("new_sites", &addresses)[0].places, places);
    }

    /// Check that entries may lead into the boot code, but not all of them, and nowhere else.
    #[test]
    fn by_targets() {
        let is_table = |places: &[u32]| !found("new_sites", &distances(places, 4)).is_empty();
        assert!(is_table(&[8, 9, 10, 11, 12, 13, 0x880]));
        assert!(!is_table(&[0x810, 0x820, 0x830, 0x840, 0x850, 0x860, 0x880]));
        assert!(!is_table(&[8, 9, 10, 11, 12, 13, 0x900]));
        assert!(found("new_sites", &[0; 64]).is_empty() && found("new_sites", &[]).is_empty());
    }

    /// Check that known tables are recognised by their names, also those of runtime constants. What
    /// a kernel frees after boot is left out.
    #[test]
    fn by_name() {
        let known = |name: &str| found(name, &distances(&[8], 4))[0].known;
        for name in ["runtime_mask___futex_mask", "__jump_table", "mcount_loc"] {
            assert_eq!(known(name), Some(Known::Rule), "{name}");
        }
        assert!(matches!(known("__ex_table"), Some(Known::Data(_))));
        for name in ["runtime_new_kind", "jump_table_new"] {
            assert_eq!(known(name), None, "{name}");
        }
        let symbols = [
            (b't', "function".to_owned(), 0),
            (b'd', "__init_begin".to_owned(), 0x900),
            (b'd', "__start_new_sites".to_owned(), 0x1000),
            (b'd', "__stop_new_sites".to_owned(), 0x1004),
            (b'd', "__init_end".to_owned(), 0x2000),
        ];
        let symbols = ImageSymbols::from_ascending(symbols);
        let read = &mut |_| Some(distances(&[8], 4));
        assert!(of_memory(&symbols, LINK, TEXT, read).is_empty());
    }

    /// Check that a site reaches from its place to the end of the instruction that contains it.
    #[test]
    fn lengths() {
        let symbols = ImageSymbols::from_ascending([(b't', "function".to_owned(), 0)]);
        // and $0x12345678,%eax; call; nop
        let text = [0x25, 0x78, 0x56, 0x34, 0x12, 0xe8, 0, 0, 0, 0, 0x90];
        assert_eq!(sites(&[1, 5, 10], &symbols, &text), [(1, 4), (5, 5), (10, 1)]);
        assert_eq!(sites(&[11, 400], &symbols, &text), [(0, 0); 0]);
    }
}
