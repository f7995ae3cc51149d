//! The pieces of a raw image: which physical memory each stretch of the file holds.
//!
//! A machine with memory below and above the hole for PCI devices has one file for both. So has a
//! dump whose ranges were joined (LiME's `format=raw`).

use std::fmt;

use super::extents::Extent;
use super::{PAGE_SIZE, PhysAddr, PhysRange, parse_address};

/// Most pieces of a file. `/proc/iomem` of a large machine has some tens of ranges of RAM.
const MAX_PIECES: usize = 1024;

/// A stretch of physical memory that a raw image holds. The pieces of a file follow each other in
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPiece {
    /// Physical address of its first byte.
    pub base: PhysAddr,
    /// Its bytes. The last piece may take the rest of the file.
    pub size: Option<u64>,
}

/// Why pieces of a raw image are not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// The text is not a list of pieces.
    #[error(
        "`{0}` is not a list of pieces. Give ADDRESS+LENGTH for each piece in the order of the \
         file, as in raw:FILE@0+0x80000000,0x100000000+0x80000000; the last one needs no length"
    )]
    Form(String),
    /// There are more pieces than are read.
    #[error("it has more than {MAX_PIECES} pieces")]
    TooMany,
    /// A piece without a length is followed by another.
    #[error("the piece at {0} needs a length: only the last piece takes the rest of the file")]
    NoLength(PhysAddr),
    /// A piece does not begin or end at a page.
    #[error("the piece at {0} does not begin and end at a multiple of 0x1000")]
    Uneven(PhysAddr),
    /// A piece is empty, or ends past the address space.
    #[error("the piece at {0} would be empty or end past the address space")]
    NoRange(PhysAddr),
    /// Two pieces hold the same memory.
    #[error("the piece at {0} overlaps the piece at {1}")]
    Overlap(PhysAddr, PhysAddr),
    /// The lengths do not add up to the file's.
    #[error(
        "its pieces are {pieces:#x} bytes long in all, but the file has {file:#x} bytes. Correct \
         the lengths; /proc/iomem of the dumped machine shows its System RAM"
    )]
    Sum {
        /// Bytes of all pieces.
        pieces: u64,
        /// Bytes of the file.
        file: u64,
    },
}

impl RawPiece {
    /// Parses the text behind the `@`. `None` if it does not look like pieces, and thus belongs to
    /// the name of the file.
    pub(super) fn parse_list(text: &str) -> Option<Result<Vec<Self>, PieceError>> {
        let is_list = text.starts_with(|first: char| first.is_ascii_digit())
            && text.contains(['+', ','])
            && text.bytes().all(|byte| byte.is_ascii_hexdigit() || b"xX_+,".contains(&byte));
        is_list.then(|| {
            let form = || PieceError::Form(text.to_owned());
            let pieces: Vec<Self> = text
                .split(',')
                .take(MAX_PIECES.saturating_add(1))
                .map(|piece| Self::parse(piece).ok_or_else(form))
                .collect::<Result<_, _>>()?;
            if pieces.len() > MAX_PIECES { Err(PieceError::TooMany) } else { Ok(pieces) }
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (base, size) = match text.split_once('+') {
            Some((base, size)) => (base, Some(parse_address(size).ok()?.0)),
            None => (text, None),
        };
        Some(Self { base: parse_address(base).ok()?, size })
    }
}

impl fmt::Display for RawPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base)?;
        self.size.map_or(Ok(()), |size| write!(f, "+{size:#x}"))
    }
}

/// Where a file of `length` bytes holds the memory of its pieces.
///
/// # Errors
/// [`PieceError`]. Every byte of the file must belong to a piece, and no two pieces to one address.
pub(super) fn extents(pieces: &[RawPiece], length: u64) -> Result<Vec<Extent>, PieceError> {
    let mut ranges: Vec<(PhysRange, u64)> = Vec::new();
    let mut offset = 0_u64;
    for (n, piece) in pieces.iter().enumerate() {
        let is_last = n.saturating_add(1) == pieces.len();
        let size = match piece.size {
            Some(size) => size,
            None if is_last => length.saturating_sub(offset),
            None => return Err(PieceError::NoLength(piece.base)),
        };
        if !piece.base.0.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
            return Err(PieceError::Uneven(piece.base));
        }
        let range =
            PhysRange::with_size(piece.base, size).ok_or(PieceError::NoRange(piece.base))?;
        ranges.push((range, offset));
        offset = offset.saturating_add(size);
    }
    if offset != length {
        return Err(PieceError::Sum { pieces: offset, file: length });
    }
    let mut ascending: Vec<PhysRange> = ranges.iter().map(|(range, _)| *range).collect();
    ascending.sort_unstable();
    for pair in ascending.windows(2) {
        if let [lower, upper] = pair
            && upper.start() < lower.end()
        {
            return Err(PieceError::Overlap(upper.start(), lower.start()));
        }
    }
    let end = PhysAddr(u64::MAX);
    ranges
        .into_iter()
        .map(|(range, offset)| Extent::new(range, offset).ok_or(PieceError::NoRange(end)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_SIZE;

    fn placed(text: &str, length: u64) -> Result<Vec<Extent>, PieceError> {
        extents(&RawPiece::parse_list(text).expect("a list")?, length)
    }

    /// Check that pieces follow each other in the file, in any order of addresses, and that only
    /// the last one may lack a length.
    #[test]
    fn in_the_order_of_the_file() {
        let extent = |base, size, offset| {
            Extent::new(PhysRange::with_size(PhysAddr(base), size).unwrap(), offset).unwrap()
        };
        let expected = vec![extent(0x10_0000, 2 * PAGE, 0), extent(0, PAGE, 2 * PAGE)];
        for text in ["0x100000+0x2000,0x0+4096", "0x10_0000+8192,0"] {
            assert_eq!(placed(text, 3 * PAGE), Ok(expected.clone()), "{text}");
        }
        assert_eq!(placed("0x1000+0x1000", PAGE), Ok(vec![extent(0x1000, PAGE, 0)]));
    }

    /// Check that each kind of wrong list is refused with its figures.
    #[test]
    fn refused() {
        for (text, expected) in [
            ("0+0x1000,0x2000+0x1000", PieceError::Sum { pieces: 2 * PAGE, file: 3 * PAGE }),
            ("0+0x4000,0x8000+0x1000", PieceError::Sum { pieces: 5 * PAGE, file: 3 * PAGE }),
            ("0+0x1000", PieceError::Sum { pieces: PAGE, file: 3 * PAGE }),
            ("0+0x3000,0x8000", PieceError::NoRange(PhysAddr(0x8000))),
            ("0+0x2000,0x1000", PieceError::Overlap(PhysAddr(0x1000), PhysAddr(0))),
            ("0x1000+0x1000,0+0x2000", PieceError::Overlap(PhysAddr(0x1000), PhysAddr(0))),
            ("0,0x4000+0x1000", PieceError::NoLength(PhysAddr(0))),
            ("0+0x1800,0x4000", PieceError::Uneven(PhysAddr(0))),
            ("0x800+0x1000,0x4000", PieceError::Uneven(PhysAddr(0x800))),
            ("0+0,0x4000", PieceError::NoRange(PhysAddr(0))),
            ("0+0x1000,0xfffffffffffff000", PieceError::NoRange(PhysAddr(!0xfff))),
            ("0+0x1000,", PieceError::Form("0+0x1000,".into())),
            ("0+0x1000+0x2000", PieceError::Form("0+0x1000+0x2000".into())),
            ("0+0x1000,abc", PieceError::Form("0+0x1000,abc".into())),
        ] {
            assert_eq!(placed(text, 3 * PAGE), Err(expected), "{text}");
        }
        assert_eq!(placed(&format!("0+0{}", ",0+0".repeat(1024)), 0), Err(PieceError::TooMany));
    }
}
