//! Witness: kallsyms, the kernel's own symbol table, found by its shape.
//!
//! scripts/kallsyms.c writes the tables into `.rodata`, in an order that changed:
//!
//! - to 6.3: offsets, relative base, number of symbols, names, markers, (6.2: sequence numbers,)
//!   token table, token index;
//! - from 6.4: number of symbols, names, markers, token table, token index, offsets, relative
//!   base, sequence numbers;
//! - 7.x: the same without a relative base; each offset counts from its own place.
//!
//! The sign is the token index: 256 ascending `u16`, the first 0. Each is the offset of a
//! NUL-terminated token in the token table right before it. The index leads to all other tables.
//! They are believed only if they parse completely: every name, every marker, ascending addresses.
//!
//! Without `CONFIG_KALLSYMS_ALL`, the table has the symbols of text alone (`symbol_valid` in
//! scripts/kallsyms.c): neither `_end` nor `linux_banner` nor any variable. Such a table still
//! knows the bounds of the text. Virtual addresses alone then do not say where the text is in
//! memory.

mod names;
mod symbols;
mod tables;
mod wanted;

use std::sync::Arc;

use super::Budget;
use super::banner;
use super::bytes::{copy, u64_at};
use super::explain::{self, SPENT};
use super::page_tables::IMAGE_MAPPING;
use crate::memory::{Memory, PhysAddr, PhysRange, VirtAddr};
use names::Names;
pub use symbols::Symbols;
pub(super) use tables::{INDEX_BYTES, is_index};
pub(super) use wanted::Distances;
use wanted::{MAX_IMAGE, Wanted};

/// The text starts at a multiple of this (`CONFIG_PHYSICAL_ALIGN`).
const TEXT_ALIGN: u64 = 2 << 20;
const BANNER_BYTES: usize = 512;

/// The claim of kallsyms about a kernel.
#[derive(Clone, Debug)]
pub struct TableClaim {
    /// Physical address of the token index, which lies in the image.
    pub at: PhysAddr,
    /// Physical address of `_stext`. A table of virtual addresses without `linux_banner` does not
    /// tell it.
    pub phys: Option<PhysAddr>,
    /// Virtual address of `_stext`; 7.x tables do not hold one.
    pub virt: Option<VirtAddr>,
    /// `_stext` to `_etext`, in bytes.
    pub size: u64,
    /// The banner at the address of `linux_banner`, if the table names it. Foreign text.
    pub banner: Option<String>,
    /// The symbols, still at the table's own addresses.
    pub symbols: Symbols,
    pub(super) distances: Distances,
}

impl TableClaim {
    /// Physical memory of the image, `_text` to `_end`, of a text at physical `text`. `None` if the
    /// table does not name `_end`.
    #[must_use]
    pub fn image(&self, text: PhysAddr) -> Option<PhysRange> {
        self.distances.image(text)
    }
}

/// Decodes the tables around the token index at physical `index_at`.
///
/// `None` if they do not parse completely, or if the budget is spent.
#[must_use]
pub fn claim(memory: &dyn Memory, index_at: PhysAddr, budget: &mut Budget) -> Option<TableClaim> {
    examine(memory, index_at, budget).ok()
}

/// As [`claim`]; the error is the check that failed.
pub(super) fn examine(
    memory: &dyn Memory,
    index_at: PhysAddr,
    budget: &mut Budget,
) -> Result<TableClaim, &'static str> {
    let index = copy(memory, index_at, INDEX_BYTES).ok_or("the token index cannot be read")?;
    budget.spend(1 << 16).ok_or(SPENT)?;
    let (tokens_at, tokens) = tables::token_table(memory, index_at, &index)
        .ok_or("no token table of 256 tokens ends right before the token index")?;
    let found = tables::names(memory, tokens_at, &tokens, budget);
    let (names_at, names) = found.ok_or(if budget.is_exhausted() {
        SPENT
    } else {
        "no names that parse completely, with markers for them, precede the token table"
    })?;
    let count = names.count();
    let names = Arc::new(names);
    let wanted = Wanted::among(&names, budget).ok_or(if budget.is_exhausted() {
        SPENT
    } else {
        "_stext or _etext is not among the names exactly once"
    })?;
    let places = [
        Layout::after(index_at, count, true),
        Layout::after(index_at, count, false),
        Layout::before(names_at, count),
    ];
    let mut furthest = Misfit::Unread;
    for layout in places.into_iter().flatten() {
        count.checked_mul(16).and_then(|cost| budget.spend(cost)).ok_or(SPENT)?;
        match decode(memory, index_at, &layout, &names, &wanted) {
            Ok(claim) => return Ok(claim),
            Err(misfit) => furthest = furthest.max(misfit),
        }
    }
    Err(furthest.why())
}

/// The check at which the addresses of a layout fail, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Misfit {
    Unread,
    Base,
    Order,
    Extent,
    Place,
    Banner,
}

impl Misfit {
    const fn why(self) -> &'static str {
        match self {
            Self::Unread => "no layout's offsets can be read",
            Self::Base => "no layout's relative base is a kernel address",
            Self::Order => "no layout's addresses ascend",
            Self::Extent => {
                "the addresses of _text, _stext, _etext and _end do not form a kernel image"
            }
            Self::Place => "the address of _stext is not one of a kernel's text",
            Self::Banner => "no banner is where the address of linux_banner leads",
        }
    }
}

/// Searches a range for a symbol table, and decodes the first that parses completely.
///
/// This is for images of kernels, which hold one table. The search through memory is faster.
#[must_use]
pub fn find(memory: &dyn Memory, within: PhysRange, budget: &mut Budget) -> Option<TableClaim> {
    let bytes = copy(memory, within.start(), usize::try_from(within.size()).ok()?)?;
    let mut rejected = 0_usize;
    (0..bytes.len()).step_by(4).find_map(|offset| {
        bytes.get(offset..)?.get(..INDEX_BYTES).filter(|index| is_index(index))?;
        let at = within.start().checked_add(offset as u64)?;
        let log = |check: &&str| {
            log::log!(explain::level(rejected), "kallsyms of an image: rejected {at}: {check}");
        };
        let claim = examine(memory, at, budget).inspect_err(log).ok();
        rejected = rejected.saturating_add(1);
        claim
    })
}

/// The places of the offsets and the relative base, known once the names are found.
struct Layout {
    offsets: PhysAddr,
    relative_base: Option<PhysAddr>,
    count: usize,
}

impl Layout {
    /// From 6.4: after the token index.
    fn after(index_at: PhysAddr, count: usize, with_base: bool) -> Option<Self> {
        let offsets = index_at.checked_add(INDEX_BYTES as u64)?;
        let end = offsets.checked_add((count as u64).checked_mul(4)?)?;
        let base = PhysAddr(end.0.checked_next_multiple_of(8)?);
        Some(Self { offsets, relative_base: with_base.then_some(base), count })
    }

    /// To 6.3: before the number of symbols.
    fn before(count_at: PhysAddr, count: usize) -> Option<Self> {
        let base = PhysAddr((count_at.0 & !7).checked_sub(8)?);
        let bytes = (count as u64).checked_mul(4)?.checked_next_multiple_of(8)?;
        let offsets = PhysAddr(base.0.checked_sub(bytes)?);
        Some(Self { offsets, relative_base: Some(base), count })
    }
}

/// Decodes addresses by one layout.
fn decode(
    memory: &dyn Memory,
    index_at: PhysAddr,
    layout: &Layout,
    names: &Arc<Names>,
    wanted: &Wanted,
) -> Result<TableClaim, Misfit> {
    let offsets = layout.count.checked_mul(4).and_then(|size| copy(memory, layout.offsets, size));
    let offsets = offsets.ok_or(Misfit::Unread)?;
    let offsets = offsets.as_chunks::<4>().0;
    let table = Table { memory, index_at, layout, names, wanted };
    let Some(base_at) = layout.relative_base else {
        let addresses = (0_u64..).step_by(4).zip(offsets).map(|(place, offset)| {
            let offset = i64::from(i32::from_le_bytes(*offset));
            layout.offsets.0.wrapping_add(place).wrapping_add(offset.cast_unsigned())
        });
        return table.claim(addresses.collect(), false);
    };
    let base = copy(memory, base_at, 8).and_then(|bytes| u64_at(&bytes, 0));
    let base = base.filter(|base| *base >> 47 == 0x1_ffff).ok_or(Misfit::Base)?;
    // CONFIG_KALLSYMS_ABSOLUTE_PERCPU, to 6.14: a positive offset is absolute, a negative one
    // counts from the base. Without it, every offset counts from the base, unsigned. Offsets of one
    // rule also ascend by the other, but lead to a text where no kernel has one.
    let signed = |offset: &[u8; 4]| match i32::from_le_bytes(*offset) {
        offset if offset < 0 => {
            base.wrapping_sub(1).wrapping_sub(i64::from(offset).cast_unsigned())
        }
        offset => u64::from(offset.cast_unsigned()),
    };
    let unsigned = |offset: &[u8; 4]| base.wrapping_add(u32::from_le_bytes(*offset).into());
    let decoded =
        |rule: &dyn Fn(&[u8; 4]) -> u64| table.claim(offsets.iter().map(rule).collect(), true);
    decoded(&signed).or_else(|misfit| decoded(&unsigned).map_err(|other| misfit.max(other)))
}

/// Names and the layout by which their addresses are decoded.
struct Table<'a> {
    memory: &'a dyn Memory,
    index_at: PhysAddr,
    layout: &'a Layout,
    names: &'a Arc<Names>,
    wanted: &'a Wanted,
}

impl Table<'_> {
    /// Makes a claim of names and addresses. These are virtual, or physical in 7.x tables.
    fn claim(&self, addresses: Vec<u64>, are_virtual: bool) -> Result<TableClaim, Misfit> {
        if !addresses.is_sorted() {
            return Err(Misfit::Order);
        }
        let distances = self.wanted.distances(&addresses).ok_or(Misfit::Extent)?;
        let stext = distances.stext;
        let before = distances.before.unwrap_or_default();
        let start = stext.checked_sub(before).ok_or(Misfit::Extent)?;
        if !start.is_multiple_of(TEXT_ALIGN) || (are_virtual && !is_image_address(stext)) {
            return Err(Misfit::Place);
        }
        let found = match distances.banner {
            Some(distance) => {
                let found = self.banner(&distances, distance, are_virtual);
                let (phys, banner) = found.ok_or(Misfit::Banner)?;
                (Some(PhysAddr(phys)), Some(banner))
            }
            // The tables are in the image, behind the text.
            None if !are_virtual => {
                let behind = self.index_at.0.checked_sub(stext).ok_or(Misfit::Place)?;
                let fits = (distances.size..=MAX_IMAGE).contains(&behind);
                (fits.then_some(Some(PhysAddr(stext))).ok_or(Misfit::Place)?, None)
            }
            None => (None, None),
        };
        let (phys, banner) = found;
        if phys.is_some_and(|phys| distances.end.is_some() && distances.image(phys).is_none()) {
            return Err(Misfit::Extent);
        }
        Ok(TableClaim {
            at: self.index_at,
            phys,
            virt: are_virtual.then_some(VirtAddr(stext)),
            size: distances.size,
            banner,
            symbols: Symbols::new(Arc::clone(self.names), addresses, stext),
            distances,
        })
    }

    /// The physical address of `_stext` at which the banner is `distance` bytes behind it, and the
    /// banner.
    fn banner(
        &self,
        distances: &Distances,
        distance: u64,
        are_virtual: bool,
    ) -> Option<(u64, String)> {
        let before = distances.before.unwrap_or_default();
        let end = distances.end.unwrap_or(MAX_IMAGE);
        let places = places(self.layout, distances.stext, before, end, are_virtual);
        places.into_iter().find_map(|phys| {
            let at = PhysAddr(phys.checked_add(distance)?);
            let bytes = copy(self.memory, at, BANNER_BYTES)?;
            let line = banner::line(&bytes)?;
            Some((phys, line))
        })
    }
}

/// Whether a text may begin at this virtual address: in the kernel image mapping, 1 GiB.
const fn is_image_address(virt: u64) -> bool {
    matches!(virt.checked_sub(IMAGE_MAPPING), Some(distance) if distance < MAX_IMAGE)
}

/// Possible physical addresses of `_stext`. Physical addresses give it directly.
///
/// With virtual addresses, the image is one piece. The text begins at an aligned address before the
/// tables, at most the size of the image away. `_text` is aligned, and `_stext` is `before` bytes
/// behind it.
fn places(layout: &Layout, stext: u64, before: u64, end: u64, are_virtual: bool) -> Vec<u64> {
    if !are_virtual {
        return vec![stext];
    }
    let last = layout.offsets.0 & !TEXT_ALIGN.wrapping_sub(1);
    let first = layout.offsets.0.saturating_sub(end);
    let count = last.saturating_sub(first) / TEXT_ALIGN;
    (0..=count)
        .filter_map(|n| last.checked_sub(n.checked_mul(TEXT_ALIGN)?)?.checked_add(before))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::names::Tokens;
    use super::wanted::COMPARE_COST;
    use super::*;

    /// Check that comparing names costs budget, however few bytes they have.
    #[test]
    fn comparing_names_is_paid_for() {
        let index: Vec<u8> = (0..256_u16).flat_map(|n| (n * 2).to_le_bytes()).collect();
        let tokens = Tokens::new(&b"a\0".repeat(256), &index).unwrap();
        let names = Names::new(&[1, 0].repeat(1000), 1000, &tokens).unwrap();
        for (left, is_exhausted) in [(1000 * COMPARE_COST, false), (1000 * COMPARE_COST - 1, true)]
        {
            let mut budget = Budget::with_left(left as u64);
            assert!(Wanted::among(&names, &mut budget).is_none(), "no wanted name is there");
            assert_eq!(budget.is_exhausted(), is_exhausted);
        }
    }

    /// Check that a token longer than any real one is refused, also at the end of a table.
    #[test]
    fn long_tokens() {
        let index: Vec<u8> = (0..256_u16).flat_map(|n| (n * 2).to_le_bytes()).collect();
        let last = |length: usize| {
            let table = [b"a\0".repeat(255), vec![b'a'; length], vec![0]].concat();
            Tokens::new(&table, &index).is_some()
        };
        assert!(last(127) && !last(128));
    }
}
