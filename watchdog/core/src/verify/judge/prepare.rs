//! Prepares the expected text: moves the reference and lists all sites.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::cfi::Cfi;
use super::counting::Counting;
use super::expected::Expected;
use super::thunks::Thunks;
use super::{Mechanism, counting_places, old_nops, sites};
use crate::verify::reference::{Piece, Reference};

impl Expected {
    /// Makes the expected text of a kernel that KASLR moved by `distance` bytes.
    #[must_use]
    pub fn of(mut reference: Reference, distance: u64) -> Self {
        let rodata = std::mem::take(&mut reference.rodata);
        let text = reference.text.take_moved(distance);
        let replacements = reference.replacements.take_moved(distance);
        let detour = detour(&reference, &rodata);
        let thunks = Thunks::of(&reference.symbols);
        let cfi = Cfi::of(&reference.symbols, &rodata);
        let counting = Counting::of(&reference.symbols, &rodata, distance);
        let reference = Arc::new(reference);
        let mut expected = Self {
            has_old_nops: old_nops::are_used(&reference),
            reference,
            text,
            replacements,
            detour,
            rodata,
            thunks,
            counting: None,
            cfi,
            sites: Vec::new(),
            may_begin: OnceLock::new(),
        };
        expected.counting = counting.map(|counting| {
            let entries = counting_places::entries(&expected, &counting);
            counting.with_entries(entries)
        });
        expected.sites = sites::of(&expected);
        sites::log(&expected.sites);
        expected
    }

    /// The number of places of each mechanism that the kernel may rewrite.
    #[must_use]
    pub fn sites_by_mechanism(&self) -> BTreeMap<Mechanism, usize> {
        sites::counts(&self.sites)
    }
}

/// The template of an optimised probe's detour (`optprobe_template_entry`, in read-only data), up
/// to the first place that the kernel fills in.
fn detour(reference: &Reference, rodata: &Piece) -> Vec<u8> {
    const LONGEST: u32 = 512;
    let symbol = |name: &str| reference.symbols.address(name);
    let template = || {
        let first = symbol("optprobe_template_entry")?;
        let length = symbol("optprobe_template_val")?.checked_sub(first)?;
        let start = first.checked_sub(rodata.offset)? as usize;
        let end = start.checked_add(length as usize).filter(|_| length <= LONGEST)?;
        Some(rodata.bytes.get(start..end)?.to_vec())
    };
    template().unwrap_or_default()
}
