//! What a kernel's text should be, wherever KASLR puts it. A reference holds the vendor's bytes,
//! the places that the kernel may rewrite ([`Tables`]), and the kernel's symbols.
//!
//! All places are image offsets: bytes from `_stext`, where the image begins.

mod carried;
mod choice;
mod derived;
mod entries;
mod error;
mod explain;
mod gates;
mod known_tables;
mod layouts;
mod learned;
mod lists;
mod nameless;
mod patch_tables;
mod read;
mod symbols;
mod tables;

pub(in crate::verify) use entries::REGISTERS;
pub use entries::{
    Alternative, ConstantKind, JumpLabel, KnownSymbols, ParavirtSite, RuntimeConstant, StaticCall,
    Trampoline,
};
pub use error::ReferenceError;
pub use gates::Gate;
pub use known_tables::Known;
pub use layouts::{BpfKsym, FtraceOps, Kprobe, Layouts, Livepatch, Module};
pub use lists::List;
pub(in crate::verify) use lists::Unfit;
pub use patch_tables::{PatchTable, UnknownTable};
pub use symbols::ImageSymbols;
pub use tables::Tables;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::NotJudged;
use crate::image::{KernelImage, Relocations};
use crate::text::hex;

/// A stretch of the kernel image as linked, and the places that KASLR changes in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Image offset of its first byte.
    pub offset: u32,
    /// The bytes as linked.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// The places that change when the image is moved.
    pub relocations: Relocations,
}

/// What a vendor's image, or the kernel's own memory, says of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// `uname -r`.
    pub release: String,
    /// `/proc/version`, without its newline.
    pub banner: String,
    /// The build id in hexadecimal.
    pub build_id: String,
    /// The address that `_stext` is linked at.
    pub link_address: u64,
    /// From `_stext` to `_etext`.
    pub text: Piece,
    /// The replacement code of alternatives.
    pub replacements: Piece,
    /// From `__start_rodata` to `__end_rodata`, or to the type information (`__start_BTF`) at its
    /// end. Type information is large and decides nothing.
    pub rodata: Piece,
    /// The part of `rodata` that is left out and zeroed: the tables of kallsyms. Locating checks
    /// these tables. A copy of them would look like another kernel to a search of this machine's
    /// own memory.
    pub left_out: Range<u32>,
    /// The places that the kernel may rewrite.
    pub tables: Tables,
    /// The handlers that the kernel's own tables assign to interrupt vectors.
    pub gates: Vec<Gate>,
    /// The kernel's symbols.
    pub symbols: ImageSymbols,
    /// Field offsets of the kernel's structures, as far as type information (or an image's debug
    /// information) describes them.
    pub layouts: Layouts,
    /// What cannot be judged by this reference, whatever the kernel's memory holds.
    pub not_judged: Vec<NotJudged>,
}

impl Reference {
    /// Reads everything that judging needs out of an image.
    ///
    /// # Errors
    /// [`ReferenceError`] when the image lacks a table or a table is unsound.
    pub fn of_image(image: &KernelImage) -> Result<Self, ReferenceError> {
        let vendor = &image.vendor;
        let symbols = ImageSymbols::of_image(image)?;
        let unresolved = nameless::unresolved(image, &symbols);
        let tables = Tables::of_image(image, &symbols, unresolved)?;
        let size = u32::try_from(vendor.text_size()).unwrap_or(u32::MAX);
        let left_out = kallsyms_tables(&symbols);
        let piece = |offset: u32, size: u32, what: &str| {
            let bytes = image
                .bytes(offset, size)
                .ok_or_else(|| ReferenceError(format!("does not hold its {what}")))?;
            let relocations = image.relocations.within(offset, size);
            Ok(Piece { offset, bytes: bytes.to_vec(), relocations })
        };
        let replacements = image
            .section(".altinstr_replacement")
            .ok_or_else(|| ReferenceError("has no `.altinstr_replacement`".to_owned()))?;
        let rodata = rodata_bounds(&symbols).or_else(|| nameless::rodata(image, &symbols));
        let rodata = rodata.unwrap_or((size, 0));
        let not_judged = without_data(&symbols);
        let mut reference = Self {
            release: vendor.release().to_owned(),
            banner: vendor.banner().to_owned(),
            build_id: hex(vendor.build_id()),
            link_address: vendor.text_virt().0,
            text: piece(0, size, "text")?,
            replacements: piece(replacements.offset, replacements.size, "replacements")?,
            rodata: without(
                piece(rodata.0, held(image, rodata.0, rodata.1), "read-only data")?,
                &left_out,
            ),
            left_out,
            tables,
            gates: gates::of_image(image, &symbols),
            symbols,
            layouts: Layouts::of_image(image),
            not_judged,
        };
        reference.list_not_judged();
        reference.log();
        Ok(reference)
    }
}

impl Reference {
    /// Adds what cannot be judged: the sites of patch tables that no rule knows, and what needs a
    /// list that cannot be found.
    fn list_not_judged(&mut self) {
        let tables = self.tables.unknown.iter().map(|table| NotJudged {
            mechanism: table.name.clone(),
            sites: u32::try_from(table.sites.len()).unwrap_or(u32::MAX),
            why: match known_tables::known(&table.name) {
                Some(_) => format!("the image has no symbols that say where {} lead", table.name),
                None => format!("this version does not know the patch table {}", table.name),
            },
        });
        let lists = self.unnamed_lists().map(|(mechanism, why)| NotJudged {
            mechanism: mechanism.to_owned(),
            sites: 0,
            why: why.to_owned(),
        });
        let more: Vec<_> = tables.chain(lists).collect();
        self.not_judged.extend(more);
    }
}

impl Piece {
    /// Takes the bytes out, as they are where KASLR moved the image by `distance`. A text is large,
    /// so only one form of it stays in memory.
    #[must_use]
    pub fn take_moved(&mut self, distance: u64) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        std::mem::take(&mut self.relocations).apply(&mut bytes, self.offset, distance);
        bytes
    }
}

/// What is not judged if the image does not name its data.
fn without_data(symbols: &ImageSymbols) -> Vec<NotJudged> {
    const WHY: &str = "the image does not name its data (the kernel was built without \
                       CONFIG_KALLSYMS_ALL). A vmlinux of the same build, not stripped, does";
    const PARTS: [&str; 2] = ["read-only data", nameless::CALLS_AND_GATES];
    if symbols.has_data() {
        return Vec::new();
    }
    let parts =
        if symbols.is_nameless() { nameless::NOT_JUDGED } else { PARTS.map(|part| (part, WHY)) };
    let not_judged = |(part, why): (&str, &str)| NotJudged {
        mechanism: part.to_owned(),
        sites: 0,
        why: why.to_owned(),
    };
    parts.map(not_judged).into()
}

/// The tables of an image whose entries lead into its text: those that rules know, those that are
/// known to be no patch tables, and unknown ones.
///
/// # Errors
/// [`ReferenceError`] when the image has no symbols.
pub fn patch_tables(image: &KernelImage) -> Result<Vec<PatchTable>, ReferenceError> {
    Ok(patch_tables::of_image(image, &ImageSymbols::of_image(image)?))
}

/// Range of the tables of kallsyms; empty if their symbols are unknown.
fn kallsyms_tables(symbols: &ImageSymbols) -> Range<u32> {
    const TABLES: [&str; 8] = [
        "kallsyms_offsets",
        "kallsyms_relative_base",
        "kallsyms_num_syms",
        "kallsyms_names",
        "kallsyms_markers",
        "kallsyms_seqs_of_names",
        "kallsyms_token_table",
        "kallsyms_token_index",
    ];
    let places = || TABLES.iter().filter_map(|name| symbols.address(name));
    let last = places().max().and_then(|last| symbols.next_after(last));
    places().min().zip(last).map(|(first, end)| first..end).unwrap_or_default()
}

/// Zeroes a part of a piece.
fn without(mut piece: Piece, part: &Range<u32>) -> Piece {
    let place = |at: u32| at.saturating_sub(piece.offset) as usize;
    let (start, end) = (place(part.start), place(part.end).min(piece.bytes.len()));
    if let Some(bytes) = piece.bytes.get_mut(start..end) {
        bytes.fill(0);
    }
    let outside = |at: &u32| !part.contains(at);
    piece.relocations.words.retain(outside);
    piece.relocations.quads.retain(outside);
    piece
}

/// Offset and size of the read-only data that is judged.
fn rodata_bounds(symbols: &ImageSymbols) -> Option<(u32, u32)> {
    let names = [["__start_rodata", "__end_rodata"], ["__start_rodata", "__start_BTF"]];
    let [all, judged] = tables::bounds(symbols, names);
    let (start, size) = all?;
    Some((start, judged.map_or(size, |(_, before)| size.min(before))))
}

/// How many of `size` bytes from `offset` sections fill. Behind the last section, the rest of its
/// page holds leftovers of the boot code.
fn held(image: &KernelImage, offset: u32, size: u32) -> u32 {
    let all = offset..offset.saturating_add(size);
    let within = image.sections().iter().filter(|section| all.contains(&section.offset));
    let ends = within.map(|section| section.offset.saturating_add(section.size));
    ends.max().unwrap_or(offset).min(all.end).saturating_sub(offset)
}
