//! Decides whether the claims of the witnesses are believed. No other module decides that.
//!
//! Claims about one text address belong together. A kernel is located if two independent witnesses
//! pin its text to the byte, and no witness of that text contradicts another ([`facts`]). There is
//! no vote: one contradiction makes the kernel lost. A witness that is missing does not.
//!
//! One of the two must be the page tables. They alone show that the text is mapped where it is, and
//! are found by their shape, without a hint from any other witness. The other one must know the
//! size to the byte:
//!
//! - kallsyms (written by the linker), iomem (filled in at boot) and the vendor's image (not from
//!   the node) are each independent of the page tables.
//! - VMCOREINFO names the root of the page tables. It knows no size, so it makes no pair.
//! - kallsyms, the image's note and VMCOREINFO are also found in a *copy* of a kernel: the file in
//!   a page cache, the remains of a kexec, a virtual machine's memory. They prove no kernel to each
//!   other. The page tables in a file or in a virtual machine lead to other addresses than where
//!   they are, so the copy has no mapping.
//!
//! If only one witness knows the size, a damaged one would shift the end unnoticed. The kernel's
//! own code then must not contradict it ([`text_end`]).
//!
//! A node that can write all of its memory can make decoys with every witness. Which kernel runs is
//! therefore not decided here, but by signs of life.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::{Claims, witnesses};
use super::facts::{self, release_of};
use super::kallsyms::TableClaim;
use super::page_tables::{IMAGE_MAPPING, MappingClaim, NEAR_MODULES};
use super::vendor::VendorSign;
use super::vmcoreinfo::NoteClaim;
use super::{
    Budget, Displaced, Finding, Kernel, Lost, Pulse, Symbols, Text, Witness, banner, boot, explain,
    text_end,
};
use crate::memory::{Memory, PhysAddr, PhysRange, RangeSet};

/// Link address of the image: `__START_KERNEL_map` + `CONFIG_PHYSICAL_START`.
const LINK_ADDRESS: u64 = IMAGE_MAPPING + 0x100_0000;

/// Decides about every kernel that any witness claims. Its text must lie in the memory `within`. If
/// vendor's images are given, the kernel must be one of them.
pub(super) fn decide(
    memory: &dyn Memory,
    claims: Claims,
    within: &RangeSet,
    images: &[VendorSign],
    budget: &mut Budget,
) -> Vec<Finding> {
    let (mut kernels, unplaced) = claims.by_text();
    let foreign: Vec<(PhysAddr, Claims)> = kernels
        .iter_mut()
        .filter_map(|(text, claims)| Some((*text, claims.take_foreign()?)))
        .collect();
    let displaced: BTreeMap<_, _> = kernels
        .iter()
        .filter_map(|(at, it)| Some((*at, displaced(*at, it, &kernels, &foreign)?)))
        .collect();
    let judged = kernels.into_iter().map(|(text, claims)| {
        let finding = judge(memory, text, claims, within, images, budget);
        match (finding, displaced.get(&text)) {
            (Finding::Lost(lost), Some(displaced)) => Finding::Lost(lost.displaced(*displaced)),
            (finding, _) => finding,
        }
    });
    let others = foreign.iter().map(|(text, claims)| another(*text, claims));
    let findings: Vec<Finding> =
        judged.chain(unplaced.iter().map(unmapped)).chain(others).collect();
    explain::log_findings(&findings);
    findings
}

/// The finding about a symbol table that no witness gives a place.
fn unmapped(table: &TableClaim) -> Finding {
    let claims = Claims { tables: vec![table.clone()], ..Claims::default() };
    let virt = table.virt.unwrap_or_default();
    let reason = format!(
        "only kallsyms at physical {} reports a kernel text, at virtual {virt}; no page tables map \
         it",
        table.at
    );
    let witnesses = witnesses(&claims);
    Finding::Lost(Lost { witnesses, ..Lost::because(reason) })
}

/// The finding about what is said of another kernel at the address of this text.
fn another(text: PhysAddr, claims: &Claims) -> Finding {
    let witnesses = witnesses(claims);
    let reason = only(
        text,
        &witnesses,
        "page tables map another kernel there, so it is a virtual machine's, or ran before",
    );
    Finding::Lost(Lost { witnesses, ..Lost::because(reason) })
}

/// Whether parts of a kernel are elsewhere than the kernel itself says: its own VMCOREINFO names
/// another physical address of the same text, where no other witness finds one. Of `foreign`, each
/// is said of another kernel than the one at its address.
///
/// That is so in a virtual machine's memory, and in a file that lacks a hole of the machine's. The
/// page tables of a kernel that runs on the machine itself lead to it, and exclude both.
fn displaced(
    text: PhysAddr,
    claims: &Claims,
    kernels: &BTreeMap<PhysAddr, Claims>,
    foreign: &[(PhysAddr, Claims)],
) -> Option<Displaced> {
    let table = claims.tables.first().filter(|_| claims.mappings.is_empty())?;
    let release = table.banner.as_deref().and_then(release_of)?;
    let is_of_it = |note: &&NoteClaim| {
        note.release == release && table.virt.is_none_or(|virt| virt == note.virt)
    };
    if claims.notes.iter().any(|note| is_of_it(&note)) {
        return None;
    }
    let elsewhere = kernels
        .iter()
        .filter(|(at, other)| **at != text && other.mappings.is_empty() && other.tables.is_empty());
    let others = elsewhere.map(|(_, other)| other).chain(foreign.iter().map(|(_, other)| other));
    let mut noted = others.flat_map(|other| other.notes.iter().filter(is_of_it));
    let claimed = noted.next()?.phys;
    // Several notes do not say which one is the kernel's.
    noted.next().is_none().then_some(Displaced { claimed, found: text })
}

/// Decides about the kernel whose text is claimed to be at physical `text`.
fn judge(
    memory: &dyn Memory,
    text: PhysAddr,
    claims: Claims,
    within: &RangeSet,
    images: &[VendorSign],
    budget: &mut Budget,
) -> Finding {
    let said = witnesses(&claims);
    let table = claims.tables.first();
    let pulse = table.map(|table| table.distances.pulse(text)).unwrap_or_default();
    let lost = |reason: String| {
        let witnesses = said.clone();
        Lost { text: Some(text), witnesses, pulse, ..Lost::because(reason) }
    };
    let writable = claims.mappings.first().filter(|mapping| mapping.text.writable);
    let is_writable = writable.is_some();
    if let Some(mapping) = writable
        && !table.is_some_and(|table| boot::is_over(memory, mapping, table, budget))
    {
        let reason = "its text is mapped writable: the kernel is starting".to_owned();
        return Finding::Booting(lost(reason));
    }
    if claims.are_several() {
        return Finding::Lost(lost(format!(
            "several kernel texts are described at physical {text}"
        )));
    }
    if let Some(rule) = too_few(&claims, is_writable) {
        return Finding::Lost(lost(only(text, &said, rule)));
    }
    let Some(mapping) = claims.mappings.first() else {
        return Finding::Lost(lost(only(text, &said, NO_MAPPING)));
    };
    let Some(banner) = banner_of(memory, mapping, &claims, budget) else {
        let reason = "no banner (`Linux version …`) is in its image, so its release is unknown";
        return Finding::Lost(lost(reason.to_owned()));
    };
    let contradiction = facts::contradiction(&claims, &banner)
        .or_else(|| code_contradicts(memory, mapping, &claims, budget))
        .or_else(|| image_is_missing(images, &claims))
        .or_else(|| outside(mapping, within));
    if let Some(reason) = contradiction {
        return Finding::Lost(lost(reason));
    }
    located(mapping, &claims, banner, pulse, said.clone()).map_or_else(
        || Finding::Lost(lost(format!("the kernel at {text} has no valid extent"))),
        |kernel| Finding::Located(Box::new(kernel)),
    )
}

const NO_MAPPING: &str = "page tables must map it";

/// The rule that is not met, if there are too few witnesses.
fn too_few(claims: &Claims, is_writable: bool) -> Option<&'static str> {
    match claims.exact() {
        _ if claims.mappings.is_empty() => Some(NO_MAPPING),
        0 => Some("kallsyms, iomem or the vendor's image must tell its size to the byte"),
        1 if is_writable => Some(
            "its mapping is writable and has no bounds, so two of kallsyms, iomem and the vendor's \
             image must agree on its size",
        ),
        _ => None,
    }
}

fn only(text: PhysAddr, said: &[Witness], rule: &str) -> String {
    let names: Vec<_> = said.iter().map(|witness| witness.name).collect();
    let verb = if names.len() == 1 { "reports" } else { "report" };
    format!("only {} {verb} a kernel text at physical {text}; {rule}", names.join(" and "))
}

/// The kernel's banner: where kallsyms says, else the first one behind the text, else as the
/// vendor's image has it.
fn banner_of(
    memory: &dyn Memory,
    mapping: &MappingClaim,
    claims: &Claims,
    budget: &mut Budget,
) -> Option<String> {
    let named = claims.tables.first().and_then(|table| table.banner.clone());
    let found = || {
        let size = size(claims)?;
        banner::find(memory, mapping.text.phys.checked_add(size)?, mapping.image, budget)
    };
    let vendor = || claims.vendors.first().map(|vendor| vendor.banner.clone());
    named.or_else(found).or_else(vendor)
}

/// The size of the text to the byte.
fn size(claims: &Claims) -> Option<u64> {
    let table = claims.tables.first().map(|table| table.size);
    let resource = || claims.resources.first().map(|resource| resource.size);
    let vendor = || claims.vendors.first().map(|vendor| vendor.size);
    table.or_else(resource).or_else(vendor)
}

/// The contradiction of the kernel's own code with the only witness that knows the size to the
/// byte.
fn code_contradicts(
    memory: &dyn Memory,
    mapping: &MappingClaim,
    claims: &Claims,
    budget: &mut Budget,
) -> Option<String> {
    let size = size(claims).filter(|_| claims.exact() == 1)?;
    let text = Text { phys: mapping.text.phys, virt: mapping.text.virt, size };
    let compared =
        text_end::compared(memory, &text, budget).filter(|compared| *compared != size)?;
    Some(format!(
        "its code compares addresses with the end of a text of {compared} bytes, and the only \
         witness that knows the size says {size}"
    ))
}

/// The contradiction of a kernel that is none of the given images.
fn image_is_missing(images: &[VendorSign], claims: &Claims) -> Option<String> {
    if images.is_empty() || !claims.vendors.is_empty() {
        return None;
    }
    let given: Vec<_> = images.iter().map(VendorSign::describe).collect();
    let noted = claims.notes.first().and_then(|note| note.build_id.as_deref());
    Some(format!(
        "the vendor's image {} is not the kernel's{}",
        given.join(" or "),
        noted.map_or_else(String::new, |id| format!(" (vmcoreinfo says build id {id})"))
    ))
}

/// The contradiction of a text that lies partly or entirely outside the searched memory. It belongs
/// to another node.
fn outside(mapping: &MappingClaim, within: &RangeSet) -> Option<String> {
    let frames = mapping.text.frames()?;
    let inside = within.covers(&frames);
    (!inside)
        .then(|| format!("its page tables lead to {frames}, which is not in {}", within.in_brief()))
}

fn located(
    mapping: &MappingClaim,
    claims: &Claims,
    banner: String,
    pulse: Pulse,
    witnesses: Vec<Witness>,
) -> Option<Kernel> {
    let (table, note) = (claims.tables.first(), claims.notes.first());
    let text = Text { phys: mapping.text.phys, virt: mapping.text.virt, size: size(claims)? };
    let image = table.and_then(|table| table.image(text.phys)).unwrap_or(mapping.image);
    let frames = PhysRange::with_size(text.phys, text.size)?;
    let before = text.phys.checked_sub(image.start())?;
    let image_virt = text.virt.0.checked_sub(before)?;
    let vendor = claims.vendors.first().map(|vendor| vendor.build_id.clone());
    (frames.end() <= image.end()).then_some(())?;
    Some(Kernel {
        release: release_of(&banner).unwrap_or_default().to_owned(),
        banner,
        build_id: vendor.or_else(|| note?.build_id.clone()),
        text,
        image,
        page_table_root: mapping.tables.root,
        paging_levels: mapping.tables.levels,
        encryption: mapping.tables.encryption,
        is_writable: mapping.text.writable,
        has_near_modules: note.is_some_and(|note| note.mapping_size == Some(NEAR_MODULES)),
        kaslr_offset: image_virt.wrapping_sub(LINK_ADDRESS),
        phys_base: text.phys.0.wrapping_sub(text.virt.0.checked_sub(IMAGE_MAPPING)?),
        witnesses: witnesses
            .into_iter()
            .map(|witness| Witness { agrees: true, ..witness })
            .collect(),
        pulse,
        symbols: Arc::new(table.map_or_else(Symbols::none, |it| it.symbols.clone().at(text.virt))),
    })
}
