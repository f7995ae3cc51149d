//! Tables that the kernel sorts at boot (`jump_label_sort_entries()`, kernel/jump_label.c;
//! `static_call_sort_entries()`, kernel/static_call_inline.c). An entry holds distances from its
//! own place, so its bytes change when it moves.

use std::collections::BTreeMap;
use std::ops::Range;

use super::window::Window;
use crate::verify::reference::ImageSymbols;

/// A table that the kernel sorts.
#[derive(Clone, Debug)]
pub(super) struct Sorted {
    /// The place of the table, by image offset.
    pub(super) range: Range<u32>,
    /// Bytes of an entry.
    entry: u32,
    form: Form,
}

/// The layout of entries.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// `struct jump_entry`: code, target (32 bits), key (64 bits) with two flags.
    Jump,
    /// `struct static_call_site`: code, key (32 bits) with two flags.
    Call,
}

/// The sorted tables of a kernel, ascending.
pub(super) fn sorted(symbols: &ImageSymbols) -> Vec<Sorted> {
    let table = |start: &str, end: &str, entry: u32, form: Form| {
        let range = symbols.address(start)?..symbols.address(end)?;
        (range.start <= range.end).then_some(Sorted { range, entry, form })
    };
    let mut tables: Vec<_> = [
        table("__start___jump_table", "__stop___jump_table", 16, Form::Jump),
        table("__start_static_call_sites", "__stop_static_call_sites", 8, Form::Call),
    ]
    .into_iter()
    .flatten()
    .collect();
    tables.sort_by_key(|table| table.range.start);
    tables
}

impl Sorted {
    /// The places of entries in `live` that `linked` lacks. Each entry may occur as often as in
    /// `linked`.
    pub(super) fn judge(&self, linked: Window<'_>, live: Window<'_>) -> Vec<Range<u32>> {
        let mut known: BTreeMap<[u64; 3], u32> = BTreeMap::new();
        for (_, entry) in self.entries(linked) {
            let count = known.entry(entry).or_default();
            *count = count.saturating_add(1);
        }
        self.entries(live)
            .filter_map(|(at, entry)| match known.get_mut(&entry) {
                Some(count @ 1..) => {
                    *count = count.saturating_sub(1);
                    None
                }
                _ => Some(at..at.saturating_add(self.entry)),
            })
            .collect()
    }

    /// The entries with absolute places, so that an entry is the same wherever it is. Of the two
    /// flags, only the one that never changes counts: an inverted label, or a tail call.
    fn entries<'a>(&'a self, table: Window<'a>) -> impl Iterator<Item = (u32, [u64; 3])> + 'a {
        let places = (table.base()..).step_by(self.entry as usize);
        places.zip(table.bytes().chunks_exact(self.entry as usize)).filter_map(|(at, entry)| {
            let word = |from: usize| {
                let distance = i32::from_le_bytes(*entry.get(from..)?.first_chunk()?);
                let own = u64::from(at).checked_add(from as u64)?;
                Some(own.wrapping_add_signed(distance.into()))
            };
            let says = match self.form {
                Form::Jump => {
                    let distance = i64::from_le_bytes(*entry.get(8..)?.first_chunk()?);
                    let key = u64::from(at).checked_add(8)?.wrapping_add_signed(distance);
                    [word(0)?, word(4)?, key & !2]
                }
                Form::Call => [word(0)?, word(4)? & !2, 0],
            };
            Some((at, says))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u32, code: u32, key: u32) -> [u8; 8] {
        let distance = |own: u32, to: u32| to.wrapping_sub(own).to_le_bytes();
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&distance(at, code));
        bytes[4..].copy_from_slice(&distance(at + 4, key));
        bytes
    }

    /// Check that the order and the flag for init code do not matter. Check that any other change
    /// is found at its place, including a duplicate entry.
    #[test]
    fn the_same_entries() {
        let table = Sorted { range: 0x100..0x118, entry: 8, form: Form::Call };
        let at = |n: u32| 0x100 + n * 8;
        let linked = [entry(at(0), 1, 0x40), entry(at(1), 2, 0x48), entry(at(2), 3, 0x50)].concat();
        let swapped =
            [entry(at(0), 3, 0x52), entry(at(1), 1, 0x40), entry(at(2), 2, 0x48)].concat();
        let judge = |live: &[u8]| -> Vec<(u32, u32)> {
            let places = table.judge(Window::new(0x100, &linked), Window::new(0x100, live));
            places.into_iter().map(|place| (place.start, place.end)).collect()
        };
        assert!(judge(&swapped).is_empty());
        let forged = [entry(at(0), 3, 0x50), entry(at(1), 1, 0x41), entry(at(2), 2, 0x48)].concat();
        assert_eq!(judge(&forged), [(at(1), at(2))]);
        let doubled =
            [entry(at(0), 1, 0x40), entry(at(1), 1, 0x40), entry(at(2), 2, 0x48)].concat();
        assert_eq!(judge(&doubled), [(at(1), at(2))]);
    }
}
