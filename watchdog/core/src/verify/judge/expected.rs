//! The text that a located kernel should have: its reference, moved to where KASLR put the kernel.

use std::sync::{Arc, OnceLock};

use super::branch::Place;
use super::cfi::Cfi;
use super::counting::Counting;
use super::site::{Kind, Site};
use super::thunks::Thunks;
use crate::verify::instruction::instruction_at;
use crate::verify::reference::{Piece, Reference, Tables, Trampoline};

/// Farthest place from the start of its function that is decoded.
const MAX_FUNCTION: u32 = 64 << 10;

/// The text that a kernel should have at its current address.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The reference. Its text was taken out and moved.
    pub reference: Arc<Reference>,
    pub(super) text: Vec<u8>,
    pub(super) replacements: Vec<u8>,
    pub(super) detour: Vec<u8>,
    pub(super) rodata: Piece,
    pub(super) thunks: Thunks,
    /// The code that counts calls, if the kernel has it.
    pub(super) counting: Option<Counting>,
    /// The forms of checks of control-flow integrity, if the kernel rewrites them.
    pub(super) cfi: Option<Cfi>,
    pub(super) sites: Vec<Site>,
    /// The places behind the end of other code, once they are needed.
    pub(super) may_begin: OnceLock<Vec<u32>>,
    /// Whether the kernel may write the NOPs of [`super::old_nops`].
    pub(super) has_old_nops: bool,
}

impl Expected {
    /// Takes the read-only data out, as linked. It is judged separately.
    pub(in crate::verify) fn take_rodata(&mut self) -> Piece {
        std::mem::take(&mut self.rodata)
    }

    /// The whole text as linked, moved to this kernel's address.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Bytes of the text.
    pub(super) fn text_size(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }

    /// Up to `length` bytes of the linked text or replacements; fewer at their ends.
    pub(super) fn linked(&self, offset: u32, length: usize) -> &[u8] {
        let behind = offset.checked_sub(self.reference.replacements.offset);
        let rest = match self.text.get(offset as usize..) {
            Some(rest) => rest,
            None => behind
                .and_then(|behind| self.replacements.get(behind as usize..))
                .unwrap_or_default(),
        };
        rest.get(..length).unwrap_or(rest)
    }

    /// The replacement code at an image offset.
    pub(super) fn replacement(&self, offset: u32, length: usize) -> Option<&[u8]> {
        let start = offset.checked_sub(self.reference.replacements.offset)? as usize;
        self.replacements.get(start..start.checked_add(length)?)
    }

    /// The start of the code that an optimised probe jumps to; empty if it is not known.
    pub(super) fn detour(&self) -> &[u8] {
        &self.detour
    }

    /// Whether a static call or its trampoline is at this image offset.
    pub(super) fn is_static_call(&self, offset: u32) -> bool {
        let tables = &self.reference.tables;
        tables.static_calls.binary_search_by_key(&offset, |call| call.at).is_ok()
            || tables.trampolines.binary_search_by_key(&offset, |tramp| tramp.at).is_ok()
    }

    /// The name of the static call at this image offset, from the symbol of its trampoline:
    /// `__SCT__NAME`.
    pub(super) fn static_call_name(&self, offset: u32) -> Option<&str> {
        let Tables { static_calls, trampolines, .. } = &self.reference.tables;
        let call = static_calls.binary_search_by_key(&offset, |call| call.at);
        let call = call.ok().and_then(|n| Some(static_calls.get(n)?.key));
        let is_own = |it: &&Trampoline| call.map_or(it.at == offset, |key| it.key == key);
        let trampoline = trampolines.iter().find(is_own)?;
        self.reference.symbols.at(trampoline.at)?.strip_prefix("__SCT__")
    }

    /// Whether a trampoline of a static call begins at this place.
    pub(super) fn is_trampoline(&self, place: Place) -> bool {
        let trampolines = &self.reference.tables.trampolines;
        u32::try_from(place)
            .is_ok_and(|at| trampolines.binary_search_by_key(&at, |tramp| tramp.at).is_ok())
    }

    /// All sites, ascending.
    pub(super) fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Whether a function of the text begins at this image offset.
    pub(super) fn is_function(&self, offset: u32) -> bool {
        offset < self.text_size() && self.reference.symbols.is_function(offset)
    }

    /// The site at exactly this image offset that is not itself an alternative.
    pub(super) fn inner_site(&self, offset: u32) -> Option<Site> {
        let first = self.sites.partition_point(|site| site.at < offset);
        let here = self.sites.iter().skip(first).take_while(|site| site.at == offset);
        here.copied().find(|site| !matches!(site.kind, Kind::Alternative(..)))
    }

    /// Whether an instruction of the linked text begins at this image offset.
    pub(super) fn is_instruction(&self, offset: u32) -> bool {
        let start = self.reference.symbols.start_before(offset);
        let start = start.filter(|start| offset.abs_diff(*start) <= MAX_FUNCTION);
        start.is_some_and(|start| instruction_at(&self.text, start, offset).0 == offset)
    }

    /// Whether a patch table that no rule knows lists a place in this site.
    pub(super) fn has_unknown(&self, site: &Site) -> bool {
        let end = site.at.saturating_add(site.length.into());
        self.reference.tables.unknown.iter().any(|table| {
            let first = table.sites.partition_point(|(at, _)| *at < site.at);
            table.sites.get(first).is_some_and(|(at, _)| *at < end)
        })
    }
}
