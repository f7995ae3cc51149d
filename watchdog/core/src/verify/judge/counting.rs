//! Code by which a kernel counts calls (call depth tracking, arch/x86/kernel/callthunks.c, since
//! 6.2), against the underflow of the processor's return predictor.
//!
//! A counted call leads to the padding before the function. The padding then holds a copy of the
//! kernel's own template, which ends where the function begins. The names below are those of 6.2 to
//! 7.2.

use super::State;
use super::code::{Code, is_copy};
use super::thunks::known;
use crate::verify::reference::{ImageSymbols, Piece};

/// Longest template: the padding that `patch_dest()` compares. Without `CONFIG_CALL_THUNKS_DEBUG`
/// the template is one instruction of nine bytes.
const MAX_TEMPLATE: u32 = 32;
/// Thunks that a kernel returns through while it counts calls.
const RETURN_THUNKS: [&str; 2] = ["call_depth_return_thunk", "__x86_return_skl"];

/// The code that counts a call, and the places where it may be.
#[derive(Clone, Debug)]
pub(super) struct Counting {
    template: Vec<u8>,
    /// Image offset of the template.
    at: u32,
    return_thunks: Vec<u32>,
    /// Where counted calls lead, ascending.
    entries: Vec<u32>,
}

impl Counting {
    /// Reads the template from read-only data; `None` for a kernel without a template. KASLR moved
    /// the kernel by `distance`. It has no entries yet.
    pub(super) fn of(symbols: &ImageSymbols, rodata: &Piece, distance: u64) -> Option<Self> {
        let at = symbols.address("skl_call_thunk_template")?;
        let length = symbols.address("skl_call_thunk_tail")?.checked_sub(at)?;
        let start = at.checked_sub(rodata.offset)? as usize;
        let end = start.checked_add(length as usize)?;
        let bytes =
            rodata.bytes.get(start..end).filter(|_| (1..=MAX_TEMPLATE).contains(&length))?;
        let mut template = bytes.to_vec();
        rodata.relocations.within(at, length).apply(&mut template, at, distance);
        let return_thunks = known(symbols, &RETURN_THUNKS);
        Some(Self { template, at, return_thunks, entries: Vec::new() })
    }

    /// Adds the places where counted calls lead, ascending.
    pub(super) fn with_entries(self, entries: Vec<u32>) -> Self {
        Self { entries, ..self }
    }

    /// Bytes of the code that counts a call.
    pub(super) fn length(&self) -> usize {
        self.template.len()
    }

    /// Whether the kernel counts calls: it then returns through the thunk that counts. `chosen` is
    /// the virtual address of its return thunk.
    pub(super) fn is_in_use(&self, chosen: Option<u64>, state: &State<'_>) -> bool {
        let thunk = chosen.and_then(|chosen| state.offset_of(chosen));
        thunk.is_some_and(|thunk| self.return_thunks.contains(&thunk))
    }

    /// Whether `live`, at image offset `to`, is a copy of the template.
    pub(super) fn is_copy(&self, live: &[u8], to: u32) -> bool {
        let template = Code { bytes: &self.template, at: self.at };
        live.len() == self.template.len() && is_copy(template, live, to, &mut |_, _, _| None)
    }

    /// Where a counted call of a function leads.
    pub(super) fn entry(&self, function: u32) -> Option<u32> {
        let entry = function.checked_sub(u32::try_from(self.length()).ok()?)?;
        self.entries.binary_search(&entry).is_ok().then_some(entry)
    }

    /// The function that a counted call to `entry` calls.
    pub(super) fn function(&self, entry: u32) -> Option<u32> {
        self.entries.binary_search(&entry).ok()?;
        entry.checked_add(u32::try_from(self.length()).ok()?)
    }

    /// Where counted calls lead, ascending.
    pub(super) fn entries(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().copied()
    }
}
