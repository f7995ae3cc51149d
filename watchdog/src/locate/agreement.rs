//! The one place where witnesses are believed or not.
//!
//! Claims of one text address belong together. A kernel is located when at least the two
//! witnesses that know a size, page tables and kallsyms, agree on start and end, and nobody who
//! speaks of that text says otherwise. There is no vote: one contradiction makes it lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kallsyms::TableClaim;
use super::page_tables::{IMAGE_MAPPING, MappingClaim};
use super::vmcoreinfo::NoteClaim;
use super::{Finding, Kernel, Lost, Text, Witness};
use crate::alert::printable;
use crate::memory::{PAGE_SIZE, PhysAddr, PhysRange};

/// Where the image is linked to run: `__START_KERNEL_map` + `CONFIG_PHYSICAL_START`.
const LINK_ADDRESS: u64 = IMAGE_MAPPING + 0x100_0000;

/// The claims about one text address.
#[derive(Default)]
struct Claims {
    mapping: Vec<MappingClaim>,
    table: Vec<TableClaim>,
    notes: Vec<NoteClaim>,
}

/// Decides about every kernel that any witness speaks of.
pub(super) fn decide(
    mappings: Vec<MappingClaim>,
    tables: Vec<TableClaim>,
    notes: Vec<NoteClaim>,
) -> Vec<Finding> {
    let mut kernels: BTreeMap<PhysAddr, Claims> = BTreeMap::new();
    for claim in mappings {
        kernels.entry(claim.text.phys).or_default().mapping.push(claim);
    }
    for claim in tables {
        kernels.entry(claim.phys).or_default().table.push(claim);
    }
    for claim in notes {
        let claims = kernels.entry(claim.phys).or_default();
        // The note stands in two places; said twice is said once.
        if !claims.notes.contains(&claim) {
            claims.notes.push(claim);
        }
    }
    kernels.into_iter().map(|(text, claims)| judge(text, claims)).collect()
}

/// Decides about the kernel whose text is claimed to be at physical `text`.
fn judge(text: PhysAddr, mut claims: Claims) -> Finding {
    let said = witnesses(&claims);
    let lost =
        |reason: String, witnesses: Vec<Witness>| Lost { reason, text: Some(text), witnesses };
    let mapping = claims.mapping.pop();
    if mapping.as_ref().is_some_and(|mapping| mapping.text.writable) {
        let reason = "its text is mapped writable: the kernel is starting".to_owned();
        return Finding::Booting(lost(reason, said));
    }
    let table = claims.table.pop();
    let (Some(mapping), Some(table)) = (mapping, table) else {
        let names: Vec<_> = said.iter().map(|witness| witness.name).collect();
        let reason = format!(
            "only {} {} of a kernel text at physical {text}; page tables and kallsyms must agree",
            names.join(" and "),
            if names.len() == 1 { "speaks" } else { "speak" },
        );
        return Finding::Lost(lost(reason, said));
    };
    if !claims.mapping.is_empty() || !claims.table.is_empty() || claims.notes.len() > 1 {
        let reason = format!("there are several descriptions of a kernel text at physical {text}");
        return Finding::Lost(lost(reason, said));
    }
    let note = claims.notes.pop();
    match contradiction(&mapping, &table, note.as_ref()) {
        Some(reason) => Finding::Lost(lost(reason, said)),
        None => located(mapping, table, note, said).map_or_else(
            || Finding::Lost(Lost::because(format!("the kernel at {text} has no sound extent"))),
            |kernel| Finding::Located(Box::new(kernel)),
        ),
    }
}

/// The first thing on which two witnesses differ.
fn contradiction(
    mapping: &MappingClaim,
    table: &TableClaim,
    note: Option<&NoteClaim>,
) -> Option<String> {
    let rounded = table.size.checked_next_multiple_of(PAGE_SIZE);
    if rounded != Some(mapping.text.size) {
        return Some(format!(
            "kallsyms says the text has {} bytes, page tables say {} (to a page)",
            table.size, mapping.text.size
        ));
    }
    if let Some(virt) = table.virt.filter(|virt| *virt != mapping.text.virt) {
        let by_tables = mapping.text.virt;
        return Some(format!("kallsyms says the text is at {virt}, page tables say {by_tables}"));
    }
    let note = note?;
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

/// `6.1.0-56-amd64` of `Linux version 6.1.0-56-amd64 (…`.
fn release_of(banner: &str) -> Option<&str> {
    banner.split(' ').nth(2).filter(|release| !release.is_empty())
}

fn located(
    mapping: MappingClaim,
    table: TableClaim,
    note: Option<NoteClaim>,
    witnesses: Vec<Witness>,
) -> Option<Kernel> {
    let text = Text { phys: mapping.text.phys, virt: mapping.text.virt, size: table.size };
    let (before, behind) = table.image;
    let start = text.phys.0.checked_sub(before.unsigned_abs())?;
    let end = text.phys.0.checked_add(u64::try_from(behind).ok()?)?;
    let image_virt = text.virt.0.checked_sub(before.unsigned_abs())?;
    Some(Kernel {
        release: release_of(&table.banner).unwrap_or_default().to_owned(),
        banner: table.banner,
        build_id: note.and_then(|note| note.build_id),
        text,
        image: PhysRange::new(PhysAddr(start), PhysAddr(end))?,
        page_table_root: mapping.root,
        paging_levels: mapping.levels,
        kaslr_offset: image_virt.wrapping_sub(LINK_ADDRESS),
        phys_base: text.phys.0.wrapping_sub(text.virt.0.checked_sub(IMAGE_MAPPING)?),
        witnesses: witnesses
            .into_iter()
            .map(|witness| Witness { agrees: true, ..witness })
            .collect(),
        symbols: Arc::new(table.symbols.at(text.virt)),
    })
}

/// What everybody says, in their own words.
fn witnesses(claims: &Claims) -> Vec<Witness> {
    let witness = |name, says| Witness { name, agrees: false, says };
    let notes = claims.notes.iter().map(|note| {
        let release = printable(note.release.as_bytes(), 64);
        witness("vmcoreinfo", format!("{release}: text at {}, virtual {}", note.phys, note.virt))
    });
    let tables = claims.table.iter().map(|table| {
        let virt = table.virt.map_or_else(String::new, |virt| format!(", virtual {virt}"));
        witness("kallsyms", format!("text at {}{virt}, {} bytes", table.phys, table.size))
    });
    let mappings = claims.mapping.iter().map(|mapping| {
        let text = &mapping.text;
        let access = if text.writable { "writable" } else { "read-only" };
        let says = format!(
            "text at {}, virtual {}, {} bytes to a page, {access}; root {}",
            text.phys, text.virt, text.size, mapping.root
        );
        witness("page-tables", says)
    });
    notes.chain(tables).chain(mappings).collect()
}
