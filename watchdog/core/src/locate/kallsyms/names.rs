//! Tokens, and the names that consist of them.

use super::super::bytes::u32_at;

/// Longest token with its NUL: real ones are under 32 bytes.
pub(super) const MAX_TOKEN: usize = 128;
/// Longest name, as the kernel bounds it (`KSYM_NAME_LEN`, 512 since 6.1).
const MAX_NAME: usize = 512;

/// The 256 tokens of which names consist.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    table: Vec<u8>,
    places: Vec<(usize, usize)>,
}

impl Tokens {
    /// The tokens of `table`. `None` unless each entry of `index` (256 `u16`) begins behind the NUL
    /// of the token before. All tokens must be printable, and the table must end with the last one.
    pub(super) fn new(table: &[u8], index: &[u8]) -> Option<Self> {
        let mut places = Vec::with_capacity(256);
        let mut expected = 0;
        for entry in index.as_chunks::<2>().0 {
            let start = usize::from(u16::from_le_bytes(*entry));
            // Most tables fail here, before any byte of the token is read.
            let rest = table.get(start..).filter(|_| start == expected)?;
            let length = rest.iter().take(MAX_TOKEN).position(|&byte| byte == 0)?;
            let printable = rest.iter().take(length).all(u8::is_ascii_graphic);
            if length == 0 || !printable {
                return None;
            }
            places.push((start, start.checked_add(length)?));
            expected = start.checked_add(length)?.checked_add(1)?;
        }
        // Only padding of less than eight bytes may follow.
        let padding = table.get(expected..)?;
        let sound = places.len() == 256 && padding.len() < 8 && padding.iter().all(|&b| b == 0);
        sound.then(|| Self { table: table.to_vec(), places })
    }

    fn get(&self, token: u8) -> &[u8] {
        self.places
            .get(usize::from(token))
            .and_then(|&(start, end)| self.table.get(start..end))
            .unwrap_or_default()
    }
}

/// Compressed names, all of which parse.
#[derive(Clone, Debug)]
pub(super) struct Names {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    tokens: Tokens,
}

impl Names {
    /// The first `count` names of `bytes`. Padding of less than eight bytes may follow them.
    pub(super) fn new(bytes: &[u8], count: u32, tokens: &Tokens) -> Option<Self> {
        // A name has at least two bytes: its length and a token.
        let most = bytes.len() / 2;
        let mut starts = Vec::with_capacity(usize::try_from(count).ok().filter(|n| *n <= most)?);
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

    /// No names.
    pub(super) fn none() -> Self {
        let tokens = Tokens { table: Vec::new(), places: Vec::new() };
        Self { bytes: Vec::new(), starts: Vec::new(), tokens }
    }

    /// Bytes of memory that the names take.
    pub(super) fn size(&self) -> usize {
        let starts = self.starts.len().saturating_mul(size_of::<u32>());
        self.bytes.len().saturating_add(starts)
    }

    /// Number of names.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// Whether a table of markers has the offset of every `step`-th name.
    pub(super) fn agree_with(&self, markers: &[u8], step: usize) -> bool {
        let every = self.starts.iter().step_by(step).enumerate();
        every.into_iter().all(|(n, start)| u32_at(markers, n.saturating_mul(4)) == Some(*start))
    }

    /// Name `n` without its type letter.
    pub(super) fn get(&self, n: usize) -> Option<Vec<u8>> {
        Some(self.kind_and_name(n)?.1)
    }

    /// The type letter and the name at number `n`.
    pub(super) fn kind_and_name(&self, n: usize) -> Option<(u8, Vec<u8>)> {
        let mut name = Vec::new();
        for &token in self.compressed(n)? {
            name.extend_from_slice(self.tokens.get(token));
            if name.len() > MAX_NAME {
                break;
            }
        }
        let kind = *name.first()?;
        name.truncate(MAX_NAME);
        Some((kind, name.split_off(1)))
    }

    /// The number of each wanted name, in one pass. A name that occurs twice counts as missing: the
    /// second one may be planted.
    pub(super) fn places<const N: usize>(&self, wanted: [&str; N]) -> [Option<usize>; N] {
        let mut places = [None; N];
        let mut seen = [false; N];
        for n in 0..self.count() {
            let Some(compressed) = self.compressed(n) else { continue };
            for ((name, place), seen) in wanted.iter().zip(&mut places).zip(&mut seen) {
                if self.spells(compressed, name.as_bytes()) {
                    *place = (!*seen).then_some(n);
                    *seen = true;
                }
            }
        }
        places
    }

    /// Whether compressed tokens spell a type letter, followed by `name`.
    fn spells(&self, compressed: &[u8], name: &[u8]) -> bool {
        let mut left = name;
        let mut letter = true;
        for &token in compressed {
            let mut spelled = self.tokens.get(token);
            if letter {
                spelled = spelled.get(1..).unwrap_or_default();
                letter = false;
            }
            let Some(rest) = left.strip_prefix(spelled) else { return false };
            left = rest;
        }
        left.is_empty()
    }

    fn compressed(&self, n: usize) -> Option<&[u8]> {
        let start = usize::try_from(*self.starts.get(n)?).ok()?;
        let (head, length) = length_at(&self.bytes, start)?;
        let start = start.checked_add(head)?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}

/// The size and the value of a compressed name's length: one byte, or two of seven bits each since
/// 6.1.
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
