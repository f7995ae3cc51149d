//! The kernel's ELF file, as linked by arch/x86/kernel/vmlinux.lds.S.
//!
//! A bzImage holds it without symbols, but its sections give the same facts. From 5.10 to 7.2,
//! `.text` begins at `_text`, which is `_stext`, and `_etext` follows it. The kallsyms of Debian's
//! 6.1, 6.12 and 7.2 confirm that. If the file has symbols, they must agree.

use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
use object::endian::LittleEndian;
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::{ImageError, VendorImage, banner, notes};
use crate::memory::VirtAddr;
use crate::text::{hex, printable};

pub(super) type Header = FileHeader64<LittleEndian>;
pub(super) type Section = SectionHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;
pub(super) type Symbol = Sym64<LittleEndian>;

pub(super) const LE: LittleEndian = LittleEndian;
/// `__START_KERNEL_map`, and the largest `KERNEL_IMAGE_SIZE` of a kernel above it
/// (arch/x86/include/asm/page_64_types.h).
const IMAGE_MAPPING: VirtAddr = VirtAddr(0xffff_ffff_8000_0000);
const IMAGE_SIZE: u64 = 1 << 30;
/// Most segments, and most sections, of a kernel. Debian's have up to 5 and 46, and some 20
/// sections more with debug information.
const MAX_HEADERS: usize = 4096;
/// Most bytes that are read of one section: 256 MiB.
pub(super) const MAX_SECTION: u64 = 256 << 20;
/// Most bytes of notes, and of section names; Debian's kernels have some 500 of each.
const MAX_SMALL_SECTION: u64 = 64 << 10;

/// Longest name of a section; those of runtime constants contain a variable's name.
const MAX_NAME: usize = 256;

/// The start of every ELF file.
pub(super) const MAGIC: [u8; 4] = elf::ELFMAG;

pub(super) fn is_elf(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

/// Reads the facts that the watchdog needs from a kernel's ELF file.
pub(super) fn read<'data, R: ReadRef<'data>>(file: R) -> Result<VendorImage, ImageError> {
    let vmlinux = Vmlinux::open(header(file)?, file)?;
    vmlinux.image().map_err(ImageError::Vmlinux)
}

/// The file's header, if the file is an x86-64 program.
pub(super) fn header<'data, R: ReadRef<'data>>(file: R) -> Result<&'data Header, ImageError> {
    let start = file.read_bytes_at(0, 20).map_err(|()| ImageError::Other("too short for ELF"))?;
    let [class, order] = *start.get(4..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 2]);
    let machine = start.get(18..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
    let machine = u16::from_le_bytes(machine);
    if order == elf::ELFDATA2MSB {
        return Err(ImageError::Other("an ELF file of a big-endian machine"));
    }
    match (class, machine) {
        (elf::ELFCLASS64, elf::EM_X86_64) => {}
        (_, elf::EM_AARCH64) => return Err(ImageError::Other("an ELF file for arm64")),
        (elf::ELFCLASS32, elf::EM_386) => return Err(ImageError::Other("a kernel for 32-bit x86")),
        _ => return Err(ImageError::Other("an ELF file for another machine")),
    }
    FileHeader64::parse(file)
        .ok()
        .filter(|header| matches!(header.e_type(LE), elf::ET_EXEC | elf::ET_DYN))
        .ok_or(ImageError::Other("an ELF file, but not a linked program"))
}

/// A kernel's ELF file. The errors of its methods say what the file has or lacks.
pub(super) struct Vmlinux<'data, R: ReadRef<'data>> {
    file: R,
    segments: &'data [Segment],
    pub(super) sections: &'data [Section],
    names: &'data [u8],
}

impl<'data, R: ReadRef<'data>> Vmlinux<'data, R> {
    /// Reads the headers. A file without sections where a kernel has them is not a kernel, or one
    /// whose sections are lost.
    pub(super) fn open(header: &'data Header, file: R) -> Result<Self, ImageError> {
        if header.shnum(LE, file).ok() == Some(0) {
            return Err(ImageError::Flat);
        }
        let vmlinux = Self::new(header, file).map_err(ImageError::Vmlinux)?;
        let is_kernels = |section: &Section| section.sh_addr(LE) >= IMAGE_MAPPING.0;
        if header.e_type(LE) == elf::ET_DYN && !vmlinux.sections.iter().any(is_kernels) {
            return Err(ImageError::Flat);
        }
        Ok(vmlinux)
    }

    fn new(header: &'data Header, file: R) -> Result<Self, String> {
        let outside = |what: &str| format!("is cut short: its {what} lie outside the file");
        for count in [header.phnum(LE, file), header.shnum(LE, file)] {
            let count = count.map_err(|_| outside("headers"))?;
            if count > MAX_HEADERS {
                return Err(format!("has {count} segments or sections, more than any kernel"));
            }
        }
        let segments = header.program_headers(LE, file).map_err(|_| outside("program headers"))?;
        let sections = header.section_headers(LE, file).map_err(|_| outside("section headers"))?;
        let names = header.section_strings_index(LE, file).map(|index| sections.get(index.0));
        let names = names.ok().flatten().ok_or("has sections without names")?;
        let vmlinux = Self { file, segments, sections, names: &[] };
        let names = vmlinux.content(names, "section names", MAX_SMALL_SECTION)?;
        Ok(Self { names, ..vmlinux })
    }

    pub(super) fn image(&self) -> Result<VendorImage, String> {
        let text = self.section(".text", elf::SHT_PROGBITS)?;
        let (text_virt, text_size) = self.text(text)?;
        let section = self.section(".notes", elf::SHT_NOTE)?;
        let found = notes::build_id(self.content(section, ".notes", MAX_SMALL_SECTION)?)?;
        if self.displacement(section, ".notes")? != self.displacement(text, ".text")? {
            return Err(
                "is not one piece: its program headers separate `.notes` from `.text`".into()
            );
        }
        let note_virt = mapped(section)
            .and_then(|start| start.checked_add(found.offset.try_into().ok()?))
            .ok_or("has its `.notes` at an address that no kernel uses")?;
        // Both lie within the same GiB, so their distance fits.
        let offset = note_virt.0.cast_signed().saturating_sub(text_virt.0.cast_signed());
        let rodata = self.section(".rodata", elf::SHT_PROGBITS)?;
        let banner = banner::find(self.content(rodata, ".rodata", MAX_SECTION)?)?;
        log::debug!(
            "an image of Linux {}, build id {}: text at {text_virt}, {text_size} bytes",
            printable(banner.release.as_bytes(), MAX_NAME),
            hex(found.id)
        );
        Ok(VendorImage {
            build_id: found.id.to_owned(),
            build_id_note: found.note.to_owned(),
            build_id_note_offset: offset,
            text_virt,
            text_size,
            release: banner.release.to_owned(),
            banner: banner.line.to_owned(),
        })
    }

    /// Address and size of the text. Section and symbols must agree on them.
    fn text(&self, section: &Section) -> Result<(VirtAddr, u64), String> {
        let executable = u64::from(elf::SHF_ALLOC | elf::SHF_EXECINSTR);
        let start = mapped(section)
            .filter(|start| {
                section.sh_flags(LE) & executable == executable && *start == start.page()
            })
            .ok_or("has its `.text` where no kernel has it")?;
        let size = section.sh_size(LE);
        if size == 0 {
            return Err("has an empty `.text`".to_owned());
        }
        let end = start.checked_add(size).ok_or("has its `.text` where no kernel has it")?;
        let end = self.end_of_code(end);
        self.agree(start, end)?;
        let size = end.checked_sub(start).ok_or("has its `.text` where no kernel has it")?;
        Ok((start, size))
    }

    /// The end of the code that begins with `.text` and ends at `end`, or with the sections of code
    /// right behind it. In 6.16 and 6.17, `.head.text` comes between `.text` and `_etext`
    /// (arch/x86/kernel/vmlinux.lds.S).
    fn end_of_code(&self, end: VirtAddr) -> VirtAddr {
        let executable = u64::from(elf::SHF_ALLOC | elf::SHF_EXECINSTR);
        let mut code: Vec<(VirtAddr, u64)> = self
            .sections
            .iter()
            .filter(|section| section.sh_flags(LE) & executable == executable)
            .filter_map(|section| Some((mapped(section)?, section.sh_size(LE))))
            .collect();
        code.sort_unstable();
        code.into_iter().fold(end, |end, (start, size)| {
            let is_behind = start >= end && start.page() == end.page();
            start.checked_add(size).filter(|_| is_behind).unwrap_or(end)
        })
    }

    /// Checks the text against the global symbols `_stext` and `_etext`, if the file has symbols.
    fn agree(&self, start: VirtAddr, end: VirtAddr) -> Result<(), String> {
        let Some(table) = self.sections.iter().find(|s| s.sh_type(LE) == elf::SHT_SYMTAB) else {
            return Ok(());
        };
        let (symbols, names) = (self.entries(table)?, self.symbol_names(table)?);
        for symbol in symbols.iter().filter(|symbol| symbol.st_info >> 4 == elf::STB_GLOBAL) {
            let value = VirtAddr(symbol.st_value.get(LE));
            for (name, expected) in [("_stext", start), ("_etext", end)] {
                if is_name(names, symbol.st_name.get(LE), name) && value != expected {
                    return Err(format!(
                        "contradicts itself about its text: `.text` is {start}..{end}, `{name}` \
                         is {value}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The symbols in a table.
    pub(super) fn entries(&self, table: &Section) -> Result<&'data [Symbol], String> {
        let symbols = self.content(table, "symbols", MAX_SECTION)?;
        object::pod::slice_from_all_bytes(symbols)
            .map_err(|()| "has a symbol table of an uneven size".to_owned())
    }

    /// The strings in which a table's symbols have their names.
    pub(super) fn symbol_names(&self, table: &Section) -> Result<&'data [u8], String> {
        let names = usize::try_from(table.sh_link(LE)).ok().and_then(|at| self.sections.get(at));
        self.content(names.ok_or("has symbols without names")?, "symbol names", MAX_SECTION)
    }

    /// The only section of this name, which must have this type.
    fn section(&self, name: &str, kind: u32) -> Result<&'data Section, String> {
        let mut named = self.sections.iter().filter(|section| self.is_named(section, name));
        let section = named.next().ok_or_else(|| format!("has no section `{name}`"))?;
        if named.next().is_some() {
            return Err(format!("has two sections `{name}`"));
        }
        match section.sh_type(LE) {
            found if found == kind => Ok(section),
            elf::SHT_NOBITS => {
                Err(format!("has a `{name}` without content, as a file of debug symbols has"))
            }
            found => Err(format!("has a `{name}` of section type {found} and not {kind}")),
        }
    }

    /// The name of a section; `None` if it is invalid, or longer than a kernel's names.
    pub(super) fn name(&self, section: &Section) -> Option<String> {
        Some(string(self.names, section.sh_name(LE))?.to_owned())
    }

    /// Whether a section has this name.
    pub(super) fn is_named(&self, section: &Section, name: &str) -> bool {
        is_name(self.names, section.sh_name(LE), name)
    }

    pub(super) fn content(
        &self,
        section: &Section,
        name: &str,
        most: u64,
    ) -> Result<&'data [u8], String> {
        let size = section.sh_size(LE);
        if size > most {
            return Err(format!("has {size} bytes of {name}, more than the {most} that are read"));
        }
        section
            .data(LE, self.file)
            .map_err(|_| format!("is cut short: its {name} lies outside the file"))
    }

    /// How far the loader moves a section, from its link address to its physical address. The file
    /// must hold all of the section, where both headers say.
    fn displacement(&self, section: &Section, name: &str) -> Result<u64, String> {
        let holds = |segment: &&Segment| {
            let within = section.sh_addr(LE).checked_sub(segment.p_vaddr(LE))?;
            let end = within.checked_add(section.sh_size(LE))?;
            let file_end = section.sh_offset(LE).checked_add(section.sh_size(LE))?;
            let same = segment.p_offset(LE).checked_add(within)? == section.sh_offset(LE);
            let whole = end <= segment.p_filesz(LE) && file_end <= self.file.len().ok()?;
            (segment.p_type(LE) == elf::PT_LOAD && same && whole).then_some(())
        };
        let segment =
            self.segments.iter().find(|segment| holds(segment).is_some()).ok_or_else(|| {
                format!("is cut short or inconsistent: no loaded segment holds all of `{name}`")
            })?;
        Ok(segment.p_paddr(LE).wrapping_sub(segment.p_vaddr(LE)))
    }
}

/// Whether the string at `offset` of a string table is `name`. Reads no further than that, because
/// the strings of a hostile file may never end.
fn is_name(strings: &[u8], offset: u32, name: &str) -> bool {
    let found = usize::try_from(offset).ok().and_then(|offset| strings.get(offset..));
    let rest = found.and_then(|found| found.strip_prefix(name.as_bytes()));
    rest.is_some_and(|rest| rest.first() == Some(&0))
}

/// The string at `offset` of a string table; `None` if it is invalid, or longer than a kernel's
/// names.
pub(super) fn string(strings: &[u8], offset: u32) -> Option<&str> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let rest = rest.get(..=MAX_NAME).unwrap_or(rest);
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// Whether an address lies in the kernel image mapping.
pub(super) fn is_mapped(address: u64) -> bool {
    address.checked_sub(IMAGE_MAPPING.0).is_some_and(|distance| distance < IMAGE_SIZE)
}

/// The address of a section that lies entirely in the kernel image mapping.
pub(super) fn mapped(section: &Section) -> Option<VirtAddr> {
    let start = VirtAddr(section.sh_addr(LE));
    let end = start.checked_sub(IMAGE_MAPPING)?.checked_add(section.sh_size(LE))?;
    (end <= IMAGE_SIZE).then_some(start)
}
