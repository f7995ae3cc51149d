//! Relocations that an ELF file keeps for itself (`ld --emit-relocs`), as `vmlinux.unstripped` of
//! 6.15 and later has them. arch/x86/tools/relocs.c selects from them what KASLR changes, and this
//! module selects the same.

use object::elf::{self, Rela64};
use object::endian::LittleEndian;
use object::read::ReadRef;
use object::read::elf::SectionHeader;

use super::VendorImage;
use super::relocations::Relocations;
use super::vmlinux::{LE, MAX_SECTION, Section, Symbol, Vmlinux, is_mapped};

/// Reads the kept relocations. None of a loaded section mean that the kernel cannot be moved.
pub(super) fn kept<'data, R: ReadRef<'data>>(
    vmlinux: &Vmlinux<'data, R>,
    vendor: &VendorImage,
) -> Result<Relocations, String> {
    let stext = vendor.text_virt().0;
    let mut found = Relocations::default();
    let tables = vmlinux.sections.iter().filter(|section| section.sh_type(LE) == elf::SHT_RELA);
    for table in tables {
        let applies = usize::try_from(table.sh_info(LE)).ok();
        let Some(target) = applies.and_then(|n| vmlinux.sections.get(n)) else { continue };
        let is_loaded = target.sh_flags(LE) & u64::from(elf::SHF_ALLOC) != 0;
        if !is_loaded || (is_notes(vmlinux, target) && !are_notes_moved(vendor.release())) {
            continue;
        }
        let symbols = usize::try_from(table.sh_link(LE)).ok();
        let symbols = symbols.and_then(|n| vmlinux.sections.get(n));
        let symbols = symbols.filter(|section| section.sh_type(LE) == elf::SHT_SYMTAB);
        let symbols = symbols.ok_or("has relocations without symbols")?;
        let symbols = vmlinux.entries(symbols)?;
        let entries = vmlinux.content(table, "relocations", MAX_SECTION)?;
        let entries: &[Rela64<LittleEndian>] = object::pod::slice_from_all_bytes(entries)
            .map_err(|()| "has relocations of an uneven size")?;
        for entry in entries {
            add(vmlinux, entry, symbols, stext, &mut found)?;
        }
    }
    for list in [&mut found.words, &mut found.inverse, &mut found.quads] {
        list.sort_unstable();
    }
    Ok(found)
}

/// Adds one relocation to the list that it belongs to, if KASLR changes its place.
fn add<'data, R: ReadRef<'data>>(
    vmlinux: &Vmlinux<'data, R>,
    entry: &Rela64<LittleEndian>,
    symbols: &[Symbol],
    stext: u64,
    found: &mut Relocations,
) -> Result<(), String> {
    let place = entry.r_offset.get(LE);
    // Per-CPU data up to 6.14 is linked at 0, and data before the text is not judged.
    let place = is_mapped(place).then(|| place.checked_sub(stext)).flatten();
    let Some(place) = place.and_then(|place| u32::try_from(place).ok()) else { return Ok(()) };
    let symbol = usize::try_from(entry.r_sym(LE, false)).ok().and_then(|n| symbols.get(n));
    let symbol = symbol.ok_or("has relocations of symbols that it does not have")?;
    let value = symbol.st_value.get(LE);
    let index = symbol.st_shndx.get(LE);
    let section = vmlinux.sections.get(usize::from(index)).filter(|_| index < elf::SHN_LORESERVE);
    // Such symbols belong to the per-CPU area, except for those that point into the image.
    let is_per_cpu = index != elf::SHN_UNDEF
        && section.is_some_and(|section| !is_mapped(section.sh_addr(LE)))
        && !is_mapped(value);
    // Hashes and offsets in the vDSO are absolute, and so small that no address equals them.
    let is_fixed = is_per_cpu || (index == elf::SHN_ABS && !is_mapped(value));
    match entry.r_type(LE, false) {
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 if is_per_cpu => found.inverse.push(place),
        elf::R_X86_64_32 | elf::R_X86_64_32S if !is_fixed => found.words.push(place),
        elf::R_X86_64_64 if !is_fixed => found.quads.push(place),
        elf::R_X86_64_NONE
        | elf::R_X86_64_PC32
        | elf::R_X86_64_PLT32
        | elf::R_X86_64_PC64
        | elf::R_X86_64_GOTPCREL
        | elf::R_X86_64_GOTPCRELX
        | elf::R_X86_64_REX_GOTPCRELX
        | elf::R_X86_64_32
        | elf::R_X86_64_32S
        | elf::R_X86_64_64 => {}
        other => return Err(format!("has relocations of the unknown type {other}")),
    }
    Ok(())
}

fn is_notes<'data, R: ReadRef<'data>>(vmlinux: &Vmlinux<'data, R>, section: &Section) -> bool {
    vmlinux.name(section).as_deref() == Some(".notes")
}

/// Whether KASLR moves the addresses in `.notes`. Since 6.10 ("x86, relocs: Ignore relocations in
/// .notes section"), and since some stable releases before, it does not.
fn are_notes_moved(release: &str) -> bool {
    /// The first stable release of each longterm kernel that leaves the notes alone.
    const STABLE: [(u32, u32, u32); 6] =
        [(4, 19, 316), (5, 4, 278), (5, 10, 219), (5, 15, 161), (6, 1, 93), (6, 6, 33)];
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().unwrap_or_default());
    let mut number = || numbers.next().unwrap_or_default();
    let (major, minor, patch): (u32, u32, u32) = (number(), number(), number());
    let stable = STABLE.iter().find(|(first, second, _)| (*first, *second) == (major, minor));
    match stable {
        Some((.., first)) => patch < *first,
        None => (major, minor) < (6, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check the release from which the notes are left alone.
    #[test]
    fn notes() {
        for (release, moved) in [
            ("6.12.117-amd64", false),
            ("7.2.13+deb14-amd64", false),
            ("6.10.0", false),
            ("6.9.1", true),
            ("6.1.0-50-amd64", true),
            ("6.1.93", false),
            ("6.6.32", true),
            ("5.10.219-x", false),
            ("", true),
        ] {
            assert_eq!(are_notes_moved(release), moved, "{release}");
        }
    }
}
