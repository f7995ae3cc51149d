//! Witness: kallsyms, the kernel's own symbol table, found by its shape.
//!
//! The tables are written by scripts/kallsyms.c into `.rodata`, in an order that changed:
//!
//! - to 6.3: offsets, relative base, number of symbols, names, markers, (6.2: sequence numbers,)
//!   token table, token index;
//! - from 6.4: number of symbols, names, markers, token table, token index, offsets, relative
//!   base, sequence numbers;
//! - 7.x: the same without a relative base; each offset counts from its own place.
//!
//! The token index is the sign to look for: 256 ascending `u16`, the first 0, each the place of a
//! NUL-terminated token in the token table right before it. Everything else is found from there,
//! and believed only when it parses throughout: every name, every marker, ascending addresses.

use super::bytes::{copy, u16_at, u32_at, u64_at};
use super::symbols::{Names, Symbols, Tokens};
use crate::memory::{Memory, PhysAddr, VirtAddr};

/// Bytes of the token index.
pub(super) const INDEX_BYTES: usize = 512;
/// Longest token with its NUL: real ones are under 32 bytes.
const MAX_TOKEN: u16 = 128;
/// Symbols that are believed; real kernels have 100,000 to 250,000.
const MAX_SYMBOLS: u32 = 1 << 20;
/// Fewest symbols of anything that is a kernel.
const MIN_SYMBOLS: u32 = 1000;
/// Symbols between two markers (scripts/kallsyms.c).
const MARKER_STEP: usize = 256;
/// Bytes before the token table that may hold markers, names and sequence numbers.
const MAX_TABLES: usize = 32 << 20;
/// Text starts at a multiple of this (`CONFIG_PHYSICAL_ALIGN`).
const TEXT_ALIGN: u64 = 2 << 20;
/// Largest kernel image that is believed.
const MAX_IMAGE: u64 = 1 << 30;
/// `init/version-timestamp.c`: how every banner begins.
const BANNER: &[u8] = b"Linux version ";
const BANNER_BYTES: usize = 512;

/// What kallsyms says of a kernel.
#[derive(Clone, Debug)]
pub(super) struct TableClaim {
    /// Physical address of `_stext`.
    pub(super) phys: PhysAddr,
    /// Virtual address of `_stext`; 7.x tables do not hold one.
    pub(super) virt: Option<VirtAddr>,
    /// `_stext` to `_etext`.
    pub(super) size: u64,
    /// `_text` and `_end`, in bytes from `_stext`.
    pub(super) image: (i64, i64),
    /// The banner, from where `linux_banner` says it is.
    pub(super) banner: String,
    /// The symbols, in bytes from `_stext`.
    pub(super) symbols: Symbols,
}

/// Whether the first four entries can be those of a token index: a quick look.
pub(super) fn may_begin_index(head: u64) -> bool {
    let entry = |n: u32| (head >> (n.saturating_mul(16))) as u16;
    let grows = |low: u16, high: u16| {
        high.checked_sub(low).is_some_and(|step| (2..=MAX_TOKEN).contains(&step))
    };
    entry(0) == 0 && grows(0, entry(1)) && grows(entry(1), entry(2)) && grows(entry(2), entry(3))
}

/// Whether 512 bytes are a token index.
pub(super) fn is_index(index: &[u8]) -> bool {
    let entry = |n: usize| u16_at(index, n.saturating_mul(2)).unwrap_or_default();
    (1..256).all(|n: usize| {
        entry(n)
            .checked_sub(entry(n.saturating_sub(1)))
            .is_some_and(|step| (2..=MAX_TOKEN).contains(&step))
    })
}

/// Decodes the tables around the token index at physical `index_at`.
pub(super) fn claim(memory: &dyn Memory, index_at: PhysAddr) -> Option<TableClaim> {
    let index = copy(memory, index_at, INDEX_BYTES)?;
    let (tokens_at, tokens) = token_table(memory, index_at, &index)?;
    let (names_at, names) = names(memory, tokens_at, tokens)?;
    let count = names.count();
    let places = [
        Layout::after(index_at, count, true),
        Layout::after(index_at, count, false),
        Layout::before(names_at, count),
    ];
    places.into_iter().flatten().find_map(|layout| decode(memory, &layout, &names))
}

/// The token table right before its index, found by where its last token must end.
fn token_table(
    memory: &dyn Memory,
    index_at: PhysAddr,
    index: &[u8],
) -> Option<(PhysAddr, Tokens)> {
    let last = u64::from(u16_at(index, INDEX_BYTES.checked_sub(2)?)?);
    // The last token ends, and up to seven bytes of padding follow.
    (2..=u64::from(MAX_TOKEN).saturating_add(7)).find_map(|tail| {
        let length = last.checked_add(tail)?;
        let at = PhysAddr(index_at.0.checked_sub(length)?);
        let aligned = at.0.is_multiple_of(4);
        let table = aligned.then(|| copy(memory, at, usize::try_from(length).ok()?)).flatten()?;
        Some((at, Tokens::new(table, index)?))
    })
}

/// The compressed names before the token table, with their number right before them.
///
/// Between names and token table stand the markers (and, 6.2 to 6.3, sequence numbers): markers
/// begin with 0 and ascend, one for each 256 names, so each place that could be their beginning
/// is tried, nearest first.
fn names(memory: &dyn Memory, tokens_at: PhysAddr, tokens: Tokens) -> Option<(PhysAddr, Names)> {
    let mut window = 256_usize << 10;
    // Most tables end well before the first windows do; a missing start of memory ends it.
    while window <= MAX_TABLES {
        let start = PhysAddr(tokens_at.0.checked_sub(window as u64)?);
        let before = copy(memory, start, window)?;
        if let Some((offset, names)) = names_within(&before, &tokens) {
            return Some((start.checked_add(offset as u64)?, names));
        }
        window = window.checked_mul(4)?;
    }
    None
}

fn names_within(before: &[u8], tokens: &Tokens) -> Option<(usize, Names)> {
    let mut at = before.len().checked_sub(8)? & !3;
    while at > 0 {
        at = at.saturating_sub(4);
        // markers[0] is 0 and markers[1] is the length of 256 short names.
        if u32_at(before, at) != Some(0) {
            continue;
        }
        let first = u32_at(before, at.saturating_add(4))?;
        if !(MARKER_STEP as u32..=(MARKER_STEP as u32).saturating_mul(128)).contains(&first) {
            continue;
        }
        if let Some(found) = names_before(before, at, tokens) {
            return Some(found);
        }
    }
    None
}

/// The names that end where markers begin, at `markers`: their number says where they begin.
fn names_before(before: &[u8], markers: usize, tokens: &Tokens) -> Option<(usize, Names)> {
    let mut last = 0;
    let mut marker_count = 1_usize;
    while let Some(marker) = u32_at(before, markers.saturating_add(marker_count.saturating_mul(4)))
        && marker > last
        && marker.saturating_sub(last) <= (MARKER_STEP as u32).saturating_mul(512)
    {
        last = marker;
        marker_count = marker_count.saturating_add(1);
    }
    // The names are as long as the last marker says and up to 256 names more; what follows the
    // markers may look like one more, so fewer are tried as well.
    for used in [marker_count, marker_count.saturating_sub(1)] {
        let last = u32_at(before, markers.saturating_add(used.checked_sub(1)?.saturating_mul(4)))?;
        let most = markers.checked_sub(usize::try_from(last).ok()?)?;
        let least = most.saturating_sub(MARKER_STEP.saturating_mul(512));
        let mut names_at = most & !3;
        while names_at >= least.max(8) {
            for gap in [4, 8] {
                let count = u32_at(before, names_at.saturating_sub(gap)).unwrap_or_default();
                let expected = (count as usize).div_ceil(MARKER_STEP);
                if (MIN_SYMBOLS..=MAX_SYMBOLS).contains(&count)
                    && expected == used
                    && let Some(bytes) = before.get(names_at..markers)
                    && let Some(names) = Names::new(bytes, count, tokens)
                    && names.agree_with(before.get(markers..)?, MARKER_STEP)
                {
                    return Some((names_at.saturating_sub(gap), names));
                }
            }
            names_at = names_at.saturating_sub(4);
        }
    }
    None
}

/// Where offsets and relative base are, once the names are found.
struct Layout {
    offsets: PhysAddr,
    relative_base: Option<PhysAddr>,
    count: usize,
}

impl Layout {
    /// From 6.4: behind the token index.
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

/// Decodes addresses by one layout; `None` when they make no kernel.
fn decode(memory: &dyn Memory, layout: &Layout, names: &Names) -> Option<TableClaim> {
    let offsets = copy(memory, layout.offsets, layout.count.checked_mul(4)?)?;
    let mut addresses = Vec::with_capacity(layout.count);
    let base = match layout.relative_base {
        Some(at) => Some(u64_at(&copy(memory, at, 8)?, 0).filter(|base| *base >> 47 == 0x1_ffff)?),
        None => None,
    };
    for (n, bytes) in offsets.as_chunks::<4>().0.iter().enumerate() {
        let offset = i32::from_le_bytes(*bytes);
        addresses.push(match base {
            // CONFIG_KALLSYMS_ABSOLUTE_PERCPU, to 6.14: positive is absolute, negative counts
            // from the base. Without it every offset counts from the base, unsigned.
            Some(base) if offset < 0 => base.wrapping_sub(1).wrapping_sub(offset as i64 as u64),
            Some(_) => offset.cast_unsigned().into(),
            None => {
                let place = layout.offsets.0.checked_add((n as u64).checked_mul(4)?)?;
                place.wrapping_add(offset as i64 as u64)
            }
        });
    }
    let unsigned = base.map(|base| {
        let plain = offsets.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        plain.map(|offset| base.wrapping_add(offset.into())).collect::<Vec<_>>()
    });
    [Some(addresses), unsigned]
        .into_iter()
        .flatten()
        .filter(|addresses| addresses.is_sorted())
        .find_map(|addresses| kernel_of(memory, layout, names, addresses, base.is_some()))
}

/// Makes a kernel of names and addresses: virtual ones, or with 7.x tables physical ones.
fn kernel_of(
    memory: &dyn Memory,
    layout: &Layout,
    names: &Names,
    addresses: Vec<u64>,
    are_virtual: bool,
) -> Option<TableClaim> {
    let symbols = Symbols::new(names.clone(), addresses)?;
    let stext = symbols.origin();
    let size = symbols.distance("_etext").and_then(|size| u64::try_from(size).ok())?;
    let end = symbols.distance("_end").and_then(|end| u64::try_from(end).ok())?;
    let text = symbols.distance("_text")?;
    let banner = symbols.distance("linux_banner").and_then(|at| u64::try_from(at).ok())?;
    if size == 0 || size > end || end > MAX_IMAGE || banner > end || text > 0 {
        return None;
    }
    let places = if are_virtual {
        // Physically the image is one piece: text begins at an aligned place before the tables,
        // no further away than the image is large.
        let last = layout.offsets.0 & !TEXT_ALIGN.wrapping_sub(1);
        let first = layout.offsets.0.saturating_sub(end);
        let count = last.saturating_sub(first) / TEXT_ALIGN;
        (0..=count).filter_map(|n| last.checked_sub(n.checked_mul(TEXT_ALIGN)?)).collect()
    } else {
        vec![stext]
    };
    places.into_iter().find_map(|text_at| {
        // `_text` is what is aligned; `_stext` stands at it or a little behind.
        let phys = if are_virtual { text_at.checked_add(text.unsigned_abs())? } else { text_at };
        let at = PhysAddr(phys.checked_add(banner)?);
        let bytes = copy(memory, at, BANNER_BYTES).filter(|bytes| bytes.starts_with(BANNER))?;
        let line = bytes.split(|&byte| byte == b'\n' || byte == 0).next()?;
        Some(TableClaim {
            phys: PhysAddr(phys),
            virt: are_virtual.then_some(VirtAddr(stext)),
            size,
            image: (text, i64::try_from(end).ok()?),
            banner: String::from_utf8_lossy(line).into_owned(),
            symbols: symbols.clone(),
        })
    })
}
