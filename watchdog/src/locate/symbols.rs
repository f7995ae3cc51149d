//! A kernel's symbols, kept as compactly as the kernel keeps them.

use super::bytes::u32_at;
use crate::memory::VirtAddr;

/// Longest name, as the kernel bounds it (`KSYM_NAME_LEN`, 512 since 6.1).
const MAX_NAME: usize = 512;

/// The 256 tokens names are made of.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    table: Vec<u8>,
    places: Vec<(usize, usize)>,
}

impl Tokens {
    /// The tokens of `table`, if every one of `index` (256 `u16`) begins behind the NUL of the
    /// one before, all are printable, and the table ends with the last.
    pub(super) fn new(table: Vec<u8>, index: &[u8]) -> Option<Self> {
        let mut places = Vec::with_capacity(256);
        let mut expected = 0;
        for entry in index.as_chunks::<2>().0 {
            let start = usize::from(u16::from_le_bytes(*entry));
            let rest = table.get(start..)?;
            let length = rest.iter().position(|&byte| byte == 0)?;
            let printable = rest.iter().take(length).all(u8::is_ascii_graphic);
            if start != expected || length == 0 || !printable {
                return None;
            }
            places.push((start, start.checked_add(length)?));
            expected = start.checked_add(length)?.checked_add(1)?;
        }
        // Only padding may follow, and less than eight bytes of it.
        let padding = table.get(expected..)?;
        let sound = places.len() == 256 && padding.len() < 8 && padding.iter().all(|&b| b == 0);
        sound.then_some(Self { table, places })
    }

    fn get(&self, token: u8) -> &[u8] {
        self.places
            .get(usize::from(token))
            .and_then(|&(start, end)| self.table.get(start..end))
            .unwrap_or_default()
    }
}

/// Compressed names, checked to parse throughout.
#[derive(Clone, Debug)]
pub(super) struct Names {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    tokens: Tokens,
}

impl Names {
    /// The first `count` names of `bytes`; less than a table's alignment may remain behind them.
    pub(super) fn new(bytes: &[u8], count: u32, tokens: &Tokens) -> Option<Self> {
        let mut starts = Vec::with_capacity(usize::try_from(count).ok()?);
        let mut at = 0;
        for _ in 0..count {
            starts.push(u32::try_from(at).ok()?);
            let (head, length) = length_at(bytes, at)?;
            at = at.checked_add(head)?.checked_add(length)?;
        }
        let padding = bytes.get(at..)?;
        let sound = padding.len() < 8 && padding.iter().all(|&byte| byte == 0);
        sound.then(|| Self {
            bytes: bytes.get(..at).unwrap_or_default().to_vec(),
            starts,
            tokens: tokens.clone(),
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// Whether a table of markers has the place of every `step`-th name.
    pub(super) fn agree_with(&self, markers: &[u8], step: usize) -> bool {
        let every = self.starts.iter().step_by(step).enumerate();
        every.into_iter().all(|(n, start)| u32_at(markers, n.saturating_mul(4)) == Some(*start))
    }

    /// Name `n` without its type letter.
    fn get(&self, n: usize) -> Option<Vec<u8>> {
        let start = usize::try_from(*self.starts.get(n)?).ok()?;
        let (head, length) = length_at(&self.bytes, start)?;
        let start = start.checked_add(head)?;
        let compressed = self.bytes.get(start..start.checked_add(length)?)?;
        let mut name = Vec::new();
        for &token in compressed {
            name.extend_from_slice(self.tokens.get(token));
            if name.len() > MAX_NAME {
                break;
            }
        }
        (!name.is_empty()).then(|| name.split_off(1))
    }
}

/// The length of a compressed name: one byte, or two of seven bits each since 6.1.
fn length_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let low = usize::from(*bytes.get(at)?);
    let (head, length) = if low & 0x80 == 0 {
        (1, low)
    } else {
        let high = usize::from(*bytes.get(at.checked_add(1)?)?);
        (2, (low & 0x7f) | (high << 7))
    };
    (length > 0 && length <= MAX_NAME).then_some((head, length))
}

/// A kernel's symbol table: names and addresses, ascending. Addresses are kept as the tables have
/// them, virtual or (7.x) physical, and translated by where `_stext` is, so that the table serves
/// wherever the text turns out to be.
#[derive(Clone, Debug)]
pub struct Symbols {
    names: Names,
    addresses: Vec<u64>,
    /// `_stext`, as the tables have it.
    origin: u64,
    /// Virtual address of `_stext`, set once it is agreed upon.
    virt: VirtAddr,
}

impl Symbols {
    /// Names with their addresses, ascending; one of them must be `_stext`.
    pub(super) fn new(names: Names, addresses: Vec<u64>) -> Option<Self> {
        let stext = (0..names.count()).find(|&n| names.get(n).is_some_and(|s| s == b"_stext"))?;
        let origin = *addresses.get(stext)?;
        Some(Self { names, addresses, origin, virt: VirtAddr(origin) })
    }

    /// The address of `_stext` as the tables have it.
    pub(super) fn origin(&self) -> u64 {
        self.origin
    }

    /// The same symbols of a text at virtual `virt`.
    pub(super) fn at(mut self, virt: VirtAddr) -> Self {
        self.virt = virt;
        self
    }

    /// The distance of a symbol from `_stext`, in bytes.
    pub(super) fn distance(&self, name: &str) -> Option<i64> {
        let at = (0..self.names.count())
            .find(|&n| self.names.get(n).is_some_and(|have| have == name.as_bytes()))?;
        Some(self.addresses.get(at)?.wrapping_sub(self.origin).cast_signed())
    }

    /// The virtual address of a symbol. Every name is looked at: not for tight loops.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<VirtAddr> {
        Some(VirtAddr(self.virt.0.wrapping_add(self.distance(name)?.cast_unsigned())))
    }

    /// The last symbol at or before a virtual address, and the distance from it in bytes.
    ///
    /// The name is foreign text, not fit to print as it is.
    #[must_use]
    pub fn lookup(&self, at: VirtAddr) -> Option<(String, u64)> {
        // Compared as the tables have them: per-CPU symbols, small numbers, stay in front.
        let at = at.0.wrapping_sub(self.virt.0).wrapping_add(self.origin);
        let behind = self.addresses.partition_point(|have| *have <= at);
        let last = *self.addresses.get(behind.checked_sub(1)?)?;
        // Aliases share an address: the first is the one the kernel itself prints.
        let first = self.addresses.partition_point(|have| *have < last);
        let name = self.names.get(first)?;
        Some((String::from_utf8_lossy(&name).into_owned(), at.checked_sub(last)?))
    }
}
