//! Reads a kernel's own lists and structures, which may be hostile.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::super::State;
use super::super::state::Fault;
use crate::memory::PAGE_SIZE;
use crate::text::{printable, shortened};

/// Entries of a list that are followed: ten times as many as the BPF programs of a busy machine,
/// and few enough that a list that grows costs little.
pub(super) const MAX_ENTRIES: usize = 1 << 16;
/// Largest structure that is read.
pub(super) const MAX_RECORD: usize = 4096;
/// Bytes of a name that are read from the node's memory, and bytes that are shown. A byte that
/// cannot be printed is shown as several.
pub(super) const MAX_NAME: usize = 200;
pub(super) const MAX_SHOWN: usize = 512;
/// Bytes of a cause's name, which may consist of many names.
pub(super) const MAX_LINE: usize = 4096;
/// Names that are listed for one branch: as many as one BPF trampoline can have programs
/// (`BPF_MAX_TRAMP_LINKS`, include/linux/bpf.h).
pub(super) const MAX_NAMED: usize = 38;

/// Joins names into one line. Beyond [`MAX_NAMED`], the line only has the number of the others.
pub(super) fn named<N: Borrow<str>>(mut names: Vec<N>) -> String {
    let others = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let line = names.join::<&str>(", ");
    if others == 0 { line } else { format!("{line} and {others} more") }
}

/// How the reading of a list ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// At its end.
    #[default]
    Whole,
    /// At a link that no kernel makes: to an entry that was read already, or to no memory at all.
    Broken,
    /// At the bound of entries or of translated addresses.
    Cut,
    /// At an address that the kernel has mapped, in memory that the source cannot read.
    Unreadable,
}

/// Follows links from the one at `head` to the one at `end`. `entry` takes the address of an entry,
/// and returns the address of its link. At most `most` entries are read.
pub(super) fn follow(
    state: &State<'_>,
    head: u64,
    end: u64,
    most: usize,
    mut entry: impl FnMut(u64) -> Option<u64>,
) -> End {
    let (mut seen, mut link) = (BTreeSet::new(), head);
    loop {
        let Some(next) = state.word_at(link) else {
            return match state.fault(link) {
                Fault::Unmapped => End::Broken,
                Fault::Bound => End::Cut,
                Fault::Source => End::Unreadable,
            };
        };
        if next == end {
            return End::Whole;
        }
        if next == 0 || seen.contains(&next) {
            return End::Broken;
        }
        if seen.len() >= most {
            return End::Cut;
        }
        seen.insert(next);
        match entry(next) {
            Some(next) => link = next,
            None => return End::Broken,
        }
    }
}

/// The entries of a circular `struct list_head` at `head`, by the address of their links. At most
/// `most` entries are read.
pub(super) fn circular(state: &State<'_>, head: u64, most: usize) -> (Vec<u64>, End) {
    let mut entries = Vec::new();
    let end = follow(state, head, head, most, |entry| {
        entries.push(entry);
        Some(entry)
    });
    (entries, end)
}

/// A structure of the kernel, copied at one moment.
pub(super) struct Record(Vec<u8>);

impl Record {
    /// Reads the structure at virtual address `at`, up to the end of the eight-byte field at
    /// `last`.
    pub(super) fn read(state: &State<'_>, at: u64, last: u32) -> Option<Self> {
        let length = usize::try_from(last.checked_add(8)?).ok();
        Some(Self(state.at(at, length.filter(|length| *length <= MAX_RECORD)?)?.bytes))
    }

    /// Reads up to `most` bytes of the structure at virtual address `at`; fewer if a page is not
    /// mapped.
    pub(super) fn prefix(state: &State<'_>, at: u64, most: usize) -> Self {
        let mut bytes = Vec::new();
        while let Some(rest) = most.checked_sub(bytes.len()).filter(|rest| *rest > 0) {
            let Some(next) = at.checked_add(bytes.len() as u64) else { break };
            let of_page = PAGE_SIZE.saturating_sub(next % PAGE_SIZE);
            let count = usize::try_from(of_page).unwrap_or(rest).min(rest);
            let Some(part) = state.at(next, count) else { break };
            bytes.extend(part.bytes);
        }
        Self(bytes)
    }

    /// The bytes of a range of offsets.
    pub(super) fn bytes(&self, range: Range<u32>) -> Option<&[u8]> {
        self.0.get(range.start as usize..range.end as usize)
    }

    /// The eight-byte field at an offset.
    pub(super) fn word(&self, offset: u32) -> Option<u64> {
        Some(u64::from_le_bytes(*self.0.get(offset as usize..)?.first_chunk()?))
    }

    /// The NUL-terminated string at an offset, of at most `longest` bytes, fit to print.
    pub(super) fn string(&self, offset: u32, longest: usize) -> Option<String> {
        text(self.0.get(offset as usize..)?.get(..longest)?)
    }
}

/// Reads a NUL-terminated string of at most `longest` bytes, fit to print.
pub(super) fn string(state: &State<'_>, virt: u64, longest: usize) -> Option<String> {
    text(&state.at(virt, longest)?.bytes)
}

pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    (!text.is_empty()).then(|| shortened(printable(text, MAX_NAME), MAX_SHOWN))
}
