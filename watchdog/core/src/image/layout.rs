//! A kernel as its image lays it out in memory: every loaded section at its distance from `_stext`,
//! before KASLR moves anything.

use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader, SectionHeader};

use super::relocations::Relocations;
use super::vmlinux::{LE, Vmlinux, header, mapped};
use super::{ImageError, MAX_UNPACKED, VendorImage, debug, linked};
use crate::dwarf::Fields;

/// A part of the kernel image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSection {
    /// Its name, as the linker gives it.
    pub name: String,
    /// Bytes from `_stext` to its first byte.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
}

/// A vendor's kernel, laid out as it is loaded.
#[derive(Clone, Debug)]
pub struct KernelImage {
    /// The facts in the image about its kernel.
    pub vendor: VendorImage,
    /// The places that KASLR changes.
    pub relocations: Relocations,
    /// The symbols of the ELF file's own table: type letter, name and bytes from `_stext`, in
    /// ascending order. A bzImage has none.
    pub symbols: Vec<(u8, String, u32)>,
    /// The fields that debug information describes, of structures that `.BTF` does not. Debug
    /// information is not loaded, and nothing else is kept of it.
    pub fields: Fields,
    sections: Vec<ImageSection>,
    bytes: Vec<u8>,
}

impl KernelImage {
    /// Lays out an unpacked kernel: its ELF file, followed by the relocations ([`super::unpack`]),
    /// or with them in sections of its own (`ld --emit-relocs`). Without relocations, the kernel
    /// can only be compared if KASLR did not move it.
    ///
    /// # Errors
    /// [`ImageError`], without a path.
    pub fn lay_out(unpacked: &[u8]) -> Result<Self, ImageError> {
        Self::lay_out_at_most(unpacked, MAX_UNPACKED)
    }

    /// As [`Self::lay_out`], but a kernel of at most `limit` bytes, with at most as many bytes of
    /// packed debug information.
    ///
    /// # Errors
    /// [`ImageError`], without a path.
    pub fn lay_out_at_most(unpacked: &[u8], limit: u64) -> Result<Self, ImageError> {
        let header = header(unpacked)?;
        let vmlinux = Vmlinux::open(header, unpacked)?;
        let vendor = vmlinux.image().map_err(ImageError::Vmlinux)?;
        let (sections, bytes) = load(&vmlinux, &vendor, limit).map_err(ImageError::Vmlinux)?;
        let table = header.e_shoff(LE).saturating_add((vmlinux.sections.len() as u64) << 6);
        let ends = vmlinux.sections.iter().map(|section| {
            let size = if section.sh_type(LE) == elf::SHT_NOBITS { 0 } else { section.sh_size(LE) };
            section.sh_offset(LE).saturating_add(size)
        });
        let end = usize::try_from(ends.fold(table, u64::max)).unwrap_or(usize::MAX);
        let behind = unpacked.get(end..).unwrap_or_default();
        let mut relocations =
            Relocations::parse(behind, vendor.text_virt()).map_err(ImageError::Vmlinux)?;
        if relocations.is_empty() {
            relocations = linked::kept(&vmlinux, &vendor).map_err(ImageError::Vmlinux)?;
        }
        let symbols = vmlinux.symbols(vendor.text_virt()).map_err(ImageError::Vmlinux)?;
        log::debug!(
            "{} sections in {} bytes; relocations: {} of 32 bits, {} inverse, {} of 64 bits",
            sections.len(),
            bytes.len(),
            relocations.words.len(),
            relocations.inverse.len(),
            relocations.quads.len()
        );
        let fields = Fields::default();
        let mut image = Self { vendor, relocations, symbols, fields, sections, bytes };
        let types = image.section(".BTF").map(|types| image.content(types));
        image.fields = debug::fields(&vmlinux, types, limit);
        Ok(image)
    }

    /// Whether the kernel is built with `CONFIG_RANDOMIZE_BASE`. Only such a kernel can print by
    /// how much it was moved (`dump_kernel_offset()`, arch/x86/kernel/setup.c, 5.10 to 7.3).
    #[must_use]
    pub fn has_kaslr(&self) -> bool {
        let rodata = self.section(".rodata").map(|section| self.content(section));
        memchr::memmem::find(rodata.unwrap_or_default(), b"Kernel Offset: 0x%lx from ").is_some()
    }

    /// A section by its name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&ImageSection> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// All sections, in the order of the file.
    #[must_use]
    pub fn sections(&self) -> &[ImageSection] {
        &self.sections
    }

    /// The content of a section.
    #[must_use]
    pub fn content(&self, section: &ImageSection) -> &[u8] {
        self.bytes(section.offset, section.size).unwrap_or_default()
    }

    /// `size` bytes, from `offset` bytes after `_stext` on; `None` outside the loaded part.
    #[must_use]
    pub fn bytes(&self, offset: u32, size: u32) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }

    /// All bytes from `_stext` to the last one that the file holds; zero between sections.
    #[must_use]
    pub fn all(&self) -> &[u8] {
        &self.bytes
    }
}

/// The loaded sections from `_stext` on, and their bytes.
fn load<'data, R: ReadRef<'data>>(
    vmlinux: &Vmlinux<'data, R>,
    vendor: &VendorImage,
    limit: u64,
) -> Result<(Vec<ImageSection>, Vec<u8>), String> {
    let mut sections = Vec::new();
    let mut bytes: Vec<u8> = Vec::new();
    let mut total = 0_u64;
    for section in vmlinux.sections {
        let is_loaded = section.sh_flags(LE) & u64::from(elf::SHF_ALLOC) != 0
            && section.sh_type(LE) != elf::SHT_NOBITS;
        // Per-CPU data is linked at 0 up to 6.14. Nothing that is judged lies in it.
        let Some(start) = mapped(section).filter(|_| is_loaded) else { continue };
        let Some(offset) = start.checked_sub(vendor.text_virt()) else { continue };
        let name = vmlinux.name(section).ok_or("has sections without names")?;
        let content = vmlinux.content(section, &name, limit)?;
        total = total.saturating_add(content.len() as u64);
        let place = usize::try_from(offset).ok();
        let end = place.and_then(|place| Some((place, place.checked_add(content.len())?)));
        let (place, end) = end
            .filter(|(_, end)| *end as u64 <= limit && total <= limit)
            .ok_or_else(|| format!("has a `{name}` where no kernel has it"))?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if let Some(place) = bytes.get_mut(place..end) {
            place.copy_from_slice(content);
        }
        // Both fit: the limit above is far below 4 GiB.
        let (offset, size) = (u32::try_from(offset), u32::try_from(content.len()));
        if let (Ok(offset), Ok(size)) = (offset, size) {
            sections.push(ImageSection { name, offset, size });
        }
    }
    Ok((sections, bytes))
}
