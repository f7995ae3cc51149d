//! The kernel's own lists of the places that it rewrites.
//!
//! A list with a section of its own is read from that section. Lists without one (jump labels,
//! static calls, mcount) are read from between their symbols (include/asm-generic/vmlinux.lds.h).

use serde::{Deserialize, Serialize};

use super::entries::{
    Alternative, ConstantKind, JumpLabel, KnownSymbols, ParavirtSite, RuntimeConstant, StaticCall,
    Trampoline,
};
use super::patch_tables::{self, PatchTable, UnknownTable};
use super::read::Table;
use super::{ImageSymbols, ReferenceError};
use crate::image::KernelImage;
use crate::text::list;

/// All places that a kernel may rewrite in its text, each list ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// Entries for one place are adjacent, in the kernel's order.
    pub alternatives: Vec<Alternative>,
    /// `.parainstructions`.
    pub paravirt: Vec<ParavirtSite>,
    /// `.smp_locks`.
    pub smp_locks: Vec<u32>,
    /// `.retpoline_sites`.
    pub retpolines: Vec<u32>,
    /// `.return_sites`.
    pub returns: Vec<u32>,
    /// `.call_sites`.
    pub calls: Vec<u32>,
    /// `.ibt_endbr_seal`.
    pub ibt_seals: Vec<u32>,
    /// `.cfi_sites`.
    pub cfi: Vec<u32>,
    /// `__jump_table`.
    pub jump_labels: Vec<JumpLabel>,
    /// `.static_call_sites`.
    pub static_calls: Vec<StaticCall>,
    /// `__SCT__…`.
    pub trampolines: Vec<Trampoline>,
    /// `__mcount_loc`.
    pub fentry: Vec<u32>,
    /// `runtime_ptr_…`, `runtime_shift_…` and `runtime_mask_…`.
    pub runtime_constants: Vec<RuntimeConstant>,
    /// The symbols that rules need.
    pub known_symbols: KnownSymbols,
    /// Patch tables that no rule knows.
    pub unknown: Vec<UnknownTable>,
}

impl Tables {
    /// Reads the tables of a vendor's image. No rule judges the sites of the `unresolved` tables.
    pub(super) fn of_image(
        image: &KernelImage,
        symbols: &ImageSymbols,
        unresolved: Vec<PatchTable>,
    ) -> Result<Self, ReferenceError> {
        let section = |name: &str| section(image, name);
        let [jumps, calls, mcount] = bounds(
            symbols,
            [
                ["__start___jump_table", "__stop___jump_table"],
                ["__start_static_call_sites", "__stop_static_call_sites"],
                ["__start_mcount_loc", "__stop_mcount_loc"],
            ],
        )
        .map(|bounds| {
            let (offset, size) = bounds.unwrap_or_default();
            Table { offset, bytes: image.bytes(offset, size).unwrap_or_default() }
        });
        let stext = image.vendor.text_virt().0;
        let entries = |table: Table<'_>| {
            sorted(
                table
                    .entries(8)
                    .filter_map(|entry| u32::try_from(entry.u64(0)?.checked_sub(stext)?).ok()),
            )
        };
        let size = u32::try_from(image.vendor.text_size()).unwrap_or(u32::MAX);
        let text = image.bytes(0, size).unwrap_or_default();
        let mut all = patch_tables::of_image(image, symbols);
        all.extend(unresolved);
        Ok(Self {
            alternatives: alternatives_of(image)?,
            paravirt: paravirt_of(image),
            smp_locks: places(section(".smp_locks")),
            retpolines: places(section(".retpoline_sites")),
            returns: places(section(".return_sites")),
            calls: places(section(".call_sites")),
            ibt_seals: places(section(".ibt_endbr_seal")),
            cfi: places(section(".cfi_sites")),
            fentry: entries(mcount),
            runtime_constants: runtime_constants(image, symbols),
            unknown: patch_tables::unknown(all, symbols, text),
            ..Self::of_data(jumps, calls, symbols)
        })
    }

    /// Reads what stays in memory after boot: jump labels, static calls, symbols.
    pub(super) fn of_data(jumps: Table<'_>, calls: Table<'_>, symbols: &ImageSymbols) -> Self {
        let names = [
            "pv_ops",
            "__fentry__",
            "x86_return_thunk",
            "__x86_return_thunk",
            "__static_call_return0",
            "BUG_func",
            "nop_func",
            "_paravirt_nop",
            "__WARN_trap",
            "__raw_callee_save___native_queued_spin_unlock",
        ];
        let mut found = [None; 10];
        for (name, _, at) in symbols.iter() {
            for (wanted, found) in names.iter().zip(&mut found) {
                if name == *wanted {
                    *found = Some(at);
                }
            }
        }
        if log::log_enabled!(log::Level::Debug) {
            let missing = names.iter().zip(&found).filter(|(_, at)| at.is_none());
            log::debug!(
                "symbols that rules go by and the kernel lacks: {}",
                list(missing.map(|(name, _)| *name))
            );
        }
        let [
            pv_ops,
            fentry,
            return_thunk,
            default_thunk,
            return_zero,
            bug,
            nop,
            old_nop,
            warning,
            unlock,
        ] = found;
        let nop = nop.or(old_nop);
        Self {
            jump_labels: jump_labels(jumps),
            static_calls: static_calls(calls),
            trampolines: trampolines(symbols),
            known_symbols: KnownSymbols {
                pv_ops,
                fentry,
                return_thunk,
                default_thunk,
                return_zero,
                bug,
                nop,
                warning,
                unlock,
            },
            ..Self::default()
        }
    }
}

/// A section as a table; empty if the image has no such section.
fn section<'a>(image: &'a KernelImage, name: &str) -> Table<'a> {
    let Some(section) = image.section(name) else {
        log::debug!("the image has no section `{name}`");
        return Table { offset: 0, bytes: &[] };
    };
    Table { offset: section.offset, bytes: image.content(section) }
}

/// The alternatives of an image, ascending.
pub(super) fn alternatives_of(image: &KernelImage) -> Result<Vec<Alternative>, ReferenceError> {
    alternatives(section(image, ".altinstructions"), section(image, ".altinstr_replacement"))
}

/// The paravirt calls of an image, ascending.
pub(super) fn paravirt_of(image: &KernelImage) -> Vec<ParavirtSite> {
    paravirt(section(image, ".parainstructions"), image.vendor.text_virt().0)
}

/// Offset and size of the bytes between two symbols, for several pairs in one pass.
pub(super) fn bounds<const N: usize>(
    symbols: &ImageSymbols,
    wanted: [[&str; 2]; N],
) -> [Option<(u32, u32)>; N] {
    let mut found = [[None; 2]; N];
    for (name, _, at) in symbols.iter() {
        for (pair, found) in wanted.iter().zip(&mut found) {
            for (wanted, found) in pair.iter().zip(found) {
                if name == *wanted {
                    *found = Some(at);
                }
            }
        }
    }
    for ([start, end], _) in wanted.iter().zip(&found).filter(|(_, found)| found.contains(&None)) {
        log::debug!("the kernel's symbols lack `{start}` or `{end}`");
    }
    found.map(|[start, end]| Some((start?, end?.checked_sub(start?)?)))
}

fn sorted(places: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut places: Vec<u32> = places.collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// Reads distances that are each relative to their own entry.
fn places(table: Table<'_>) -> Vec<u32> {
    sorted(table.entries(4).filter_map(|entry| entry.place(0)))
}

/// Reads `.altinstructions`. The size of an entry depends on the version (13 bytes with a `padlen`
/// up to 5.16, 12 bytes up to 6.3, 14 bytes since). The table itself shows which size is right.
/// Only with that size do all replacements lie in the section of replacements.
fn alternatives(
    table: Table<'_>,
    replacements: Table<'_>,
) -> Result<Vec<Alternative>, ReferenceError> {
    let first = replacements.offset;
    let end = first.saturating_add(u32::try_from(replacements.bytes.len()).unwrap_or(u32::MAX));
    let read = |size: usize| -> Option<Vec<Alternative>> {
        if table.bytes.len().checked_rem(size) != Some(0) {
            return None;
        }
        let mut entries = Vec::new();
        for entry in table.entries(size) {
            let new = size == 14;
            let (feature, behind) = (entry.u16(8)?, if new { 12 } else { 10 });
            let flags = if new { entry.u16(10)? } else { feature >> 15 };
            let (length, replacement_length) =
                (entry.u8(behind)?, entry.u8(behind.saturating_add(1))?);
            let replacement = entry.place(4)?;
            let inside =
                replacement >= first && replacement.checked_add(replacement_length.into())? <= end;
            if !inside || replacement_length > length || flags > 3 {
                return None;
            }
            entries.push(Alternative {
                // A place below `_stext` is not part of the image.
                at: entry.place(0)?,
                length,
                replacement,
                replacement_length,
                feature: if new { feature } else { feature & 0x7fff },
                inverted: flags & 1 != 0,
                direct_call: flags & 2 != 0,
            });
        }
        Some(entries)
    };
    let mut entries = [12, 13, 14]
        .into_iter()
        .find_map(read)
        .ok_or_else(|| ReferenceError("has alternatives of an unknown format".to_owned()))?;
    entries.sort_by_key(|entry| entry.at);
    Ok(entries)
}

/// `struct paravirt_patch_site` (arch/x86/include/asm/paravirt_types.h).
fn paravirt(table: Table<'_>, stext: u64) -> Vec<ParavirtSite> {
    let site = |entry: Table<'_>| {
        let at = u32::try_from(entry.u64(0)?.checked_sub(stext)?).ok()?;
        Some(ParavirtSite { at, slot: entry.u8(8)?, length: entry.u8(9)? })
    };
    // The last entry may lack its padding.
    let whole = table.bytes.len().saturating_sub(table.bytes.len().checked_rem(16).unwrap_or(0));
    let last = Table { bytes: table.bytes.get(whole..).unwrap_or_default(), ..table };
    let mut sites: Vec<_> = table.entries(16).chain([last]).filter_map(site).collect();
    sites.sort_by_key(|site| site.at);
    sites
}

/// `struct jump_entry`: two 32-bit distances and a 64-bit one whose low bits are flags.
fn jump_labels(table: Table<'_>) -> Vec<JumpLabel> {
    let label = |entry: Table<'_>| {
        let key = entry.far_place(8)?;
        let (at, target) = (entry.place(0)?, entry.place(4)?);
        Some(JumpLabel { at, target, key: key & !3, inverted: key & 1 != 0 })
    };
    let mut labels: Vec<_> = table.entries(16).filter_map(label).collect();
    labels.sort_by_key(|label| label.at);
    labels
}

/// `struct static_call_site`: two 32-bit distances; the low bits of the key are flags.
fn static_calls(table: Table<'_>) -> Vec<StaticCall> {
    let call = |entry: Table<'_>| {
        let key = entry.place(4)?;
        Some(StaticCall { at: entry.place(0)?, key: key & !3, tail: key & 1 != 0 })
    };
    let mut calls: Vec<_> = table.entries(8).filter_map(call).collect();
    calls.sort_by_key(|call| call.at);
    calls
}

/// A trampoline and its key have one name with different prefixes
/// (include/linux/static_call_types.h).
fn trampolines(symbols: &ImageSymbols) -> Vec<Trampoline> {
    let keys: std::collections::HashMap<&str, u32> = symbols
        .iter()
        .filter_map(|(name, _, at)| Some((name.strip_prefix("__SCK__")?, at)))
        .collect();
    symbols
        .iter()
        .filter_map(|(name, _, at)| {
            let key = *keys.get(name.strip_prefix("__SCT__")?)?;
            Some(Trampoline { at, key })
        })
        .collect()
}

fn runtime_constants(image: &KernelImage, symbols: &ImageSymbols) -> Vec<RuntimeConstant> {
    let constant = |section: &crate::image::ImageSection| {
        let (name, kind) = ConstantKind::PREFIXES
            .iter()
            .find_map(|(prefix, kind)| Some((section.name.strip_prefix(prefix)?, *kind)))?;
        let table = Table { offset: section.offset, bytes: image.content(section) };
        let variable = symbols.address(name);
        Some(RuntimeConstant { name: name.to_owned(), variable, sites: places(table), kind })
    };
    image.sections().iter().filter_map(constant).collect()
}
