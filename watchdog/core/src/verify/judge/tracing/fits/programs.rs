//! `struct bpf_ksym` (include/linux/bpf.h, 5.10 to 7.2).
//!
//! `start` and `end` come first, then the name, then the link. The name has `KSYM_NAME_LEN` bytes:
//! 128 up to 6.0, and 512 since.

use super::super::super::State;
use super::super::lists::Record;
use super::fit::{Fit, is_code, is_name, linked, only};
use crate::verify::reference::{BpfKsym, Unfit};

const NAME: u32 = 16;
/// Offset of the link: behind a name of either size.
const LINKS: [u32; 2] = [144, 528];
/// Largest code of one program.
const MAX_CODE: u64 = 16 << 20;

/// The layout that fits the BPF code on the list at virtual address `list`.
pub(super) fn programs(state: &State<'_>, list: u64) -> Fit<BpfKsym> {
    match linked(state, list) {
        None => Fit::Unfit(Unfit::None),
        Some(links) if links.is_empty() => Fit::Empty,
        Some(links) => {
            let layouts = LINKS.map(|lnode| BpfKsym { start: 0, end: 8, name: NAME, lnode });
            let fits = |layout: &BpfKsym| {
                links.iter().all(|link| is_program(state, *link, layout) == Some(true))
            };
            only(layouts.into_iter().filter(fits))
        }
    }
}

/// Whether the entry with this link is code with a name.
fn is_program(state: &State<'_>, link: u64, layout: &BpfKsym) -> Option<bool> {
    let record = Record::read(state, link.checked_sub(layout.lnode.into())?, layout.lnode)?;
    let (start, end) = (record.word(layout.start)?, record.word(layout.end)?);
    let size = end.checked_sub(start)?;
    let name = record.bytes(layout.name..layout.lnode)?;
    Some((1..=MAX_CODE).contains(&size) && is_code(state, start) && is_name(name))
}
