//! The claims of the witnesses, grouped by the kernel text that they are about.

use std::collections::BTreeMap;

use super::Witness;
use super::iomem::ResourceClaim;
use super::kallsyms::TableClaim;
use super::page_tables::MappingClaim;
use super::vendor::VendorClaim;
use super::vmcoreinfo::NoteClaim;
use crate::memory::PhysAddr;
use crate::text::printable;

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
    /// The claims, grouped by text address, and the symbol tables without one.
    pub(super) fn by_text(self) -> (BTreeMap<PhysAddr, Self>, Vec<TableClaim>) {
        let mut kernels: BTreeMap<PhysAddr, Self> = BTreeMap::new();
        let mut unplaced = Vec::new();
        for claim in self.tables {
            match claim.phys.or_else(|| mapped_text(&claim, &self.mappings)) {
                Some(text) => kernels.entry(text).or_default().tables.push(claim),
                None => unplaced.push(claim),
            }
        }
        for claim in self.mappings {
            kernels.entry(claim.text.phys).or_default().mappings.push(claim);
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
        (kernels, unplaced)
    }

    /// Takes out what is said of another kernel: statements with another virtual address than the
    /// page tables of this text, if the same witness also makes one with theirs.
    ///
    /// A virtual machine's kernel states physical addresses of its machine. Where KASLR puts it,
    /// they may be those of this text.
    pub(super) fn take_foreign(&mut self) -> Option<Self> {
        let [mapping] = self.mappings.as_slice() else { return None };
        let mut foreign = Self::default();
        let virt = mapping.text.virt;
        if self.notes.iter().any(|note| note.virt == virt) {
            foreign.notes = self.notes.extract_if(.., |note| note.virt != virt).collect();
        }
        if self.resources.iter().any(|resource| resource.virt == virt) {
            let is_other = |resource: &mut ResourceClaim| resource.virt != virt;
            foreign.resources = self.resources.extract_if(.., is_other).collect();
        }
        let is_any = !foreign.notes.is_empty() || !foreign.resources.is_empty();
        is_any.then_some(foreign)
    }

    /// Whether any witness described this text more than once, each time differently.
    pub(super) fn are_several(&self) -> bool {
        let counts = [
            self.mappings.len(),
            self.tables.len(),
            self.resources.len(),
            self.notes.len(),
            self.vendors.len(),
        ];
        counts.iter().any(|count| *count > 1)
    }

    /// How many witnesses know the size to the byte.
    pub(super) fn exact(&self) -> usize {
        let counts = [self.tables.len(), self.resources.len(), self.vendors.len()];
        counts.iter().filter(|count| **count > 0).count()
    }
}

/// The text that a table of virtual addresses describes: the one that page tables map at its
/// address, with the table in its image.
fn mapped_text(table: &TableClaim, mappings: &[MappingClaim]) -> Option<PhysAddr> {
    let is_its = |mapping: &&MappingClaim| {
        Some(mapping.text.virt) == table.virt && mapping.image.contains(table.at)
    };
    mappings.iter().find(is_its).map(|mapping| mapping.text.phys)
}

fn add_once<T: PartialEq>(claims: &mut Vec<T>, claim: T) {
    if !claims.contains(&claim) {
        claims.push(claim);
    }
}

/// The statement of each witness, as text.
pub(super) fn witnesses(claims: &Claims) -> Vec<Witness> {
    let witness = |name, says| Witness { name, agrees: false, says };
    let notes = claims.notes.iter().map(|note| {
        let release = printable(note.release.as_bytes(), 64);
        witness("vmcoreinfo", format!("{release}: text at {}, virtual {}", note.phys, note.virt))
    });
    let tables = claims.tables.iter().map(|table| {
        let phys = table.phys.map_or_else(String::new, |phys| format!(" at {phys}"));
        let virt = table.virt.map_or_else(String::new, |virt| format!(", virtual {virt}"));
        witness("kallsyms", format!("text{phys}{virt}, {} bytes", table.size))
    });
    let mappings = claims.mappings.iter().map(|mapping| {
        let (text, tables) = (&mapping.text, &mapping.tables);
        let access = if text.writable { "writable" } else { "read-only" };
        let encryption = match tables.encryption {
            0 => String::new(),
            bit => format!(", encryption bit {}", bit.trailing_zeros()),
        };
        let says = format!(
            "text at {}, virtual {}, {} bytes to a page, {access}; root {}{encryption}",
            text.phys, text.virt, text.size, tables.root
        );
        witness("page-tables", says)
    });
    let resources = claims.resources.iter().map(|resource| {
        let ResourceClaim { phys, virt, size } = resource;
        witness("iomem", format!("Kernel code at {phys}, virtual {virt}, {size} bytes"))
    });
    let vendors = claims.vendors.iter().map(|vendor| {
        let VendorClaim { file, phys, size, build_id, .. } = vendor;
        witness("image", format!("{file}: build id {build_id}, text at {phys}, {size} bytes"))
    });
    notes.chain(tables).chain(mappings).chain(resources).chain(vendors).collect()
}
