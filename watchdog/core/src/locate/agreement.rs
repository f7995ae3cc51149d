//! Decides whether the claims of the witnesses are believed. No other module decides that.
//!
//! Claims about one text address belong together. A kernel is located under three conditions. Page
//! tables map exactly the text that kallsyms bounds. Another witness that knows the size to the
//! byte confirms it. No witness of that text contradicts. There is no vote: one contradiction makes
//! the kernel lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::explain;
use super::iomem::ResourceClaim;
use super::kallsyms::TableClaim;
use super::page_tables::{IMAGE_MAPPING, MappingClaim};
use super::vendor::{VendorClaim, VendorSign};
use super::vmcoreinfo::NoteClaim;
use super::{Finding, Kernel, Lost, Text, Witness};
use crate::memory::{PAGE_SIZE, PhysAddr, RangeSet};
use crate::text::printable;

/// Link address of the image: `__START_KERNEL_map` + `CONFIG_PHYSICAL_START`.
const LINK_ADDRESS: u64 = IMAGE_MAPPING + 0x100_0000;

/// The claims of all witnesses.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) mappings: Vec<MappingClaim>,
    pub(super) tables: Vec<TableClaim>,
    pub(super) resources: Vec<ResourceClaim>,
    pub(super) notes: Vec<NoteClaim>,
    pub(super) vendors: Vec<VendorClaim>,
}

impl Claims {
    /// The claims, grouped by text address.
    fn by_text(self) -> BTreeMap<PhysAddr, Self> {
        let mut kernels: BTreeMap<PhysAddr, Self> = BTreeMap::new();
        for claim in self.mappings {
            kernels.entry(claim.text.phys).or_default().mappings.push(claim);
        }
        for claim in self.tables {
            kernels.entry(claim.phys).or_default().tables.push(claim);
        }
        for claim in self.resources {
            add_once(&mut kernels.entry(claim.phys).or_default().resources, claim);
        }
        for claim in self.notes {
            // The note has two copies. Equal claims count once.
            add_once(&mut kernels.entry(claim.phys).or_default().notes, claim);
        }
        for claim in self.vendors {
            add_once(&mut kernels.entry(claim.phys).or_default().vendors, claim);
        }
        kernels
    }

    /// Whether any witness described this text more than once, each time differently.
    fn are_several(&self) -> bool {
        let counts = [
            self.mappings.len(),
            self.tables.len(),
            self.resources.len(),
            self.notes.len(),
            self.vendors.len(),
        ];
        counts.iter().any(|count| *count > 1)
    }
}

fn add_once<T: PartialEq>(claims: &mut Vec<T>, claim: T) {
    if !claims.contains(&claim) {
        claims.push(claim);
    }
}

/// Decides about every kernel that any witness claims. Its text must lie in the memory `within`. If
/// vendor's images are given, the kernel must be one of them.
pub(super) fn decide(claims: Claims, within: &RangeSet, images: &[VendorSign]) -> Vec<Finding> {
    let kernels = claims.by_text().into_iter();
    let findings: Vec<Finding> =
        kernels.map(|(text, claims)| judge(text, claims, within, images)).collect();
    explain::log_findings(&findings);
    findings
}

/// Decides about the kernel whose text is claimed to be at physical `text`.
fn judge(text: PhysAddr, mut claims: Claims, within: &RangeSet, images: &[VendorSign]) -> Finding {
    let said = witnesses(&claims);
    let pulse = claims.tables.first().map(|table| table.pulse).unwrap_or_default();
    let lost = |reason: String| Lost { reason, text: Some(text), witnesses: said.clone(), pulse };
    if claims.mappings.first().is_some_and(|mapping| mapping.text.writable) {
        let reason = "its text is mapped writable: the kernel is starting".to_owned();
        return Finding::Booting(lost(reason));
    }
    if claims.are_several() {
        return Finding::Lost(lost(format!(
            "several kernel texts are described at physical {text}"
        )));
    }
    let (note, vendor) = (claims.notes.pop(), claims.vendors.pop());
    let resource = claims.resources.pop();
    let (Some(mapping), Some(table)) = (claims.mappings.pop(), claims.tables.pop()) else {
        return Finding::Lost(lost(too_few(text, &said, "page tables and kallsyms must agree")));
    };
    if resource.is_none() && vendor.is_none() {
        return Finding::Lost(lost(too_few(
            text,
            &said,
            "iomem or the vendor's image must confirm its size to the byte",
        )));
    }
    let exact = Exact { table: &table, resource, vendor: vendor.as_ref() };
    let contradiction = exact
        .contradiction(&mapping)
        .or_else(|| note_contradicts(note.as_ref()?, &mapping, &table))
        .or_else(|| image_contradicts(images, vendor.as_ref(), note.as_ref()))
        .or_else(|| outside(&mapping, within));
    if let Some(reason) = contradiction {
        return Finding::Lost(lost(reason));
    }
    let build_id = vendor.map(|vendor| vendor.build_id).or_else(|| note?.build_id);
    located(mapping, table, build_id, said.clone()).map_or_else(
        || Finding::Lost(lost(format!("the kernel at {text} has no valid extent"))),
        |kernel| Finding::Located(Box::new(kernel)),
    )
}

fn too_few(text: PhysAddr, said: &[Witness], rule: &str) -> String {
    let names: Vec<_> = said.iter().map(|witness| witness.name).collect();
    let verb = if names.len() == 1 { "reports" } else { "report" };
    format!("only {} {verb} a kernel text at physical {text}; {rule}", names.join(" and "))
}

/// The witnesses that know the text's size to the byte.
struct Exact<'a> {
    table: &'a TableClaim,
    resource: Option<ResourceClaim>,
    vendor: Option<&'a VendorClaim>,
}

impl Exact<'_> {
    /// The first contradiction among them, or with the page tables.
    fn contradiction(&self, mapping: &MappingClaim) -> Option<String> {
        let size = self.table.size;
        let others = [
            ("iomem", self.resource.map(|resource| resource.size)),
            ("the vendor's image", self.vendor.map(|vendor| vendor.size)),
        ];
        let differs = others.into_iter().find(|(_, said)| said.is_some_and(|said| said != size));
        if let Some((name, Some(said))) = differs {
            return Some(format!("kallsyms says the text has {size} bytes, {name} says {said}"));
        }
        if size.checked_next_multiple_of(PAGE_SIZE) != Some(mapping.text.size) {
            return Some(format!(
                "kallsyms says the text has {size} bytes, page tables say {} (to a page)",
                mapping.text.size
            ));
        }
        let virtuals =
            [("kallsyms", self.table.virt), ("iomem", self.resource.map(|resource| resource.virt))];
        virtuals.into_iter().find_map(|(name, virt)| {
            let by_tables = mapping.text.virt;
            let virt = virt.filter(|virt| *virt != by_tables)?;
            Some(format!("{name} says the text is at {virt}, page tables say {by_tables}"))
        })
    }
}

/// The first contradiction of VMCOREINFO with page tables and kallsyms.
fn note_contradicts(
    note: &NoteClaim,
    mapping: &MappingClaim,
    table: &TableClaim,
) -> Option<String> {
    if note.virt != mapping.text.virt {
        let (noted, by_tables) = (note.virt, mapping.text.virt);
        return Some(format!(
            "vmcoreinfo says the text is at {noted}, page tables say {by_tables}"
        ));
    }
    if let Some(root) = note.root.filter(|root| *root != mapping.root) {
        return Some(format!(
            "vmcoreinfo says the root of the page tables is {root}, their shape says {}",
            mapping.root
        ));
    }
    if release_of(&table.banner) != Some(&note.release) {
        return Some(format!(
            "vmcoreinfo says the kernel is {}, the banner says {}",
            printable(note.release.as_bytes(), 64),
            printable(table.banner.as_bytes(), 64)
        ));
    }
    None
}

/// The contradiction of a kernel that is none of the given images, or states another build id than
/// its image.
fn image_contradicts(
    images: &[VendorSign],
    vendor: Option<&VendorClaim>,
    note: Option<&NoteClaim>,
) -> Option<String> {
    let noted = note.and_then(|note| note.build_id.as_deref());
    match vendor {
        None if images.is_empty() => None,
        None => {
            let given: Vec<_> = images.iter().map(VendorSign::describe).collect();
            Some(format!(
                "the vendor's image {} is not the kernel's{}",
                given.join(" or "),
                noted.map_or_else(String::new, |id| format!(" (vmcoreinfo says build id {id})"))
            ))
        }
        Some(vendor) => noted.filter(|id| *id != vendor.build_id).map(|id| {
            format!(
                "vmcoreinfo says the build id is {id}, the vendor's image says {}",
                vendor.build_id
            )
        }),
    }
}

/// The contradiction of a text that lies partly or entirely outside the searched memory. It belongs
/// to another node.
fn outside(mapping: &MappingClaim, within: &RangeSet) -> Option<String> {
    let frames = mapping.text.frames()?;
    let inside = within.covers(&frames);
    (!inside)
        .then(|| format!("its page tables lead to {frames}, which is not in {}", within.in_brief()))
}

/// `6.1.0-56-amd64`, from `Linux version 6.1.0-56-amd64 (…`.
fn release_of(banner: &str) -> Option<&str> {
    banner.split(' ').nth(2).filter(|release| !release.is_empty())
}

fn located(
    mapping: MappingClaim,
    table: TableClaim,
    build_id: Option<String>,
    witnesses: Vec<Witness>,
) -> Option<Kernel> {
    let text = Text { phys: mapping.text.phys, virt: mapping.text.virt, size: table.size };
    let before = text.phys.checked_sub(table.image.start())?;
    let image_virt = text.virt.0.checked_sub(before)?;
    Some(Kernel {
        release: release_of(&table.banner).unwrap_or_default().to_owned(),
        banner: table.banner,
        build_id,
        text,
        image: table.image,
        page_table_root: mapping.root,
        paging_levels: mapping.levels,
        kaslr_offset: image_virt.wrapping_sub(LINK_ADDRESS),
        phys_base: text.phys.0.wrapping_sub(text.virt.0.checked_sub(IMAGE_MAPPING)?),
        witnesses: witnesses
            .into_iter()
            .map(|witness| Witness { agrees: true, ..witness })
            .collect(),
        pulse: table.pulse,
        symbols: Arc::new(table.symbols.at(text.virt)),
    })
}

/// The statement of each witness, as text.
fn witnesses(claims: &Claims) -> Vec<Witness> {
    let witness = |name, says| Witness { name, agrees: false, says };
    let notes = claims.notes.iter().map(|note| {
        let release = printable(note.release.as_bytes(), 64);
        witness("vmcoreinfo", format!("{release}: text at {}, virtual {}", note.phys, note.virt))
    });
    let tables = claims.tables.iter().map(|table| {
        let virt = table.virt.map_or_else(String::new, |virt| format!(", virtual {virt}"));
        witness("kallsyms", format!("text at {}{virt}, {} bytes", table.phys, table.size))
    });
    let mappings = claims.mappings.iter().map(|mapping| {
        let text = &mapping.text;
        let access = if text.writable { "writable" } else { "read-only" };
        let says = format!(
            "text at {}, virtual {}, {} bytes to a page, {access}; root {}",
            text.phys, text.virt, text.size, mapping.root
        );
        witness("page-tables", says)
    });
    let resources = claims.resources.iter().map(|resource| {
        let ResourceClaim { phys, virt, size } = resource;
        witness("iomem", format!("Kernel code at {phys}, virtual {virt}, {size} bytes"))
    });
    let vendors = claims.vendors.iter().map(|vendor| {
        let VendorClaim { file, phys, size, build_id } = vendor;
        witness("image", format!("{file}: build id {build_id}, text at {phys}, {size} bytes"))
    });
    notes.chain(tables).chain(mappings).chain(resources).chain(vendors).collect()
}
