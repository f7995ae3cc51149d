//! The headers of an ELF core, which say where in the file each part of physical memory lies.
//!
//! Such cores come from QEMU (`dump-guest-memory`, with and without paging), from the kernel
//! (`/proc/vmcore`, `/proc/kcore`) and from `makedumpfile -E`. This module only reads the headers
//! and does not check them. An offset may lie past the end of the file, and an address may wrap.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64, ET_CORE, FileHeader64, PN_XNUM, PT_LOAD,
    ProgramHeader64, SectionHeader64,
};

use super::dump_error::DumpError;
use super::foreign;
use super::{PhysAddr, VirtAddr};

/// The physical address that an ELF core gives to memory without one: `(elf_addr_t)-1`
/// (fs/proc/kcore.c, 6.1 to 6.18).
pub(super) const NO_PHYSICAL_ADDRESS: PhysAddr = PhysAddr(u64::MAX);

/// Most program headers that are read. QEMU writes one for each mapped stretch when it dumps with
/// paging, makedumpfile one for each hole it leaves: tens of thousands.
pub(super) const MAX_HEADERS: u32 = 1 << 20;
/// Bytes of a file header. [`super::kcore`] compares it to detect a changed layout.
pub(super) const FILE_HEADER: usize = size_of::<FileHeader64<LE>>();
/// Program headers read at a time.
const AT_A_TIME: u32 = 1024;
/// `DUMP_ELF_INCOMPLETE` in `e_flags`: makedumpfile could not write everything
/// (makedumpfile.c, 1.7).
const INCOMPLETE: u32 = 1;

/// The content of a core's headers.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    /// The loadable segments in the order of the headers.
    pub(super) segments: Vec<Segment>,
    /// Whether the program that wrote the file says that it did not finish.
    pub(super) incomplete: bool,
}

/// One `PT_LOAD` header, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// `p_vaddr`.
    pub(super) virt: VirtAddr,
    /// `p_paddr`.
    pub(super) phys: PhysAddr,
    /// `p_offset`.
    pub(super) offset: u64,
    /// `p_filesz`.
    pub(super) in_file: u64,
    /// `p_memsz`.
    pub(super) in_memory: u64,
}

/// Reads the headers of a 64-bit little-endian x86-64 core.
///
/// # Errors
/// [`DumpError`]: the file has another format or too many headers, or ends within them.
pub(super) fn headers(file: &File) -> Result<Headers, DumpError> {
    let mut head = [0; FILE_HEADER];
    let head = start(file, &mut head)?;
    if !head.starts_with(&ELFMAG) {
        let advice = foreign::advice(head);
        return Err(advice.map_or(DumpError::NotElf, DumpError::Foreign));
    }
    let header: &FileHeader64<LE> = pod(head)?;
    if (header.e_ident.class, header.e_ident.data) != (ELFCLASS64, ELFDATA2LSB)
        || header.e_machine.get(LE) != EM_X86_64
    {
        return Err(DumpError::OtherMachine);
    }
    if header.e_type.get(LE) != ET_CORE {
        return Err(DumpError::NotCore);
    }
    let size = size_of::<ProgramHeader64<LE>>();
    if usize::from(header.e_phentsize.get(LE)) != size {
        return Err(DumpError::HeaderSize(header.e_phentsize.get(LE)));
    }
    let count = header_count(file, header)?;
    if count == 0 && header.e_shnum.get(LE) != 0 {
        return Err(DumpError::Foreign(foreign::NO_SEGMENTS));
    }
    if count > MAX_HEADERS {
        return Err(DumpError::TooMany(MAX_HEADERS));
    }
    let mut headers =
        Headers { segments: Vec::new(), incomplete: header.e_flags.get(LE) & INCOMPLETE != 0 };
    let mut at = header.e_phoff.get(LE);
    let mut left = count;
    let mut table = vec![0; size.saturating_mul(AT_A_TIME as usize)];
    while left > 0 {
        let now = left.min(AT_A_TIME);
        let length = size.saturating_mul(now as usize);
        let bytes = table.get_mut(..length).ok_or(DumpError::HeadersCut)?;
        read(file, bytes, at)?;
        let programs = object::slice_from_all_bytes::<ProgramHeader64<LE>>(bytes);
        headers.segments.extend(programs.unwrap_or_default().iter().filter_map(segment));
        at = at.checked_add(length as u64).ok_or(DumpError::HeadersCut)?;
        left = left.saturating_sub(now);
    }
    Ok(headers)
}

/// The number of program headers. From 65535 on, section header 0 holds it (`PN_XNUM`).
fn header_count(file: &File, header: &FileHeader64<LE>) -> Result<u32, DumpError> {
    let count = header.e_phnum.get(LE);
    if count != PN_XNUM {
        return Ok(u32::from(count));
    }
    let mut section = [0; size_of::<SectionHeader64<LE>>()];
    if header.e_shoff.get(LE) == 0 || usize::from(header.e_shentsize.get(LE)) != section.len() {
        return Err(DumpError::NoCount);
    }
    read(file, &mut section, header.e_shoff.get(LE))?;
    Ok(pod::<SectionHeader64<LE>>(&section)?.sh_info.get(LE))
}

fn segment(header: &ProgramHeader64<LE>) -> Option<Segment> {
    (header.p_type.get(LE) == PT_LOAD).then(|| Segment {
        virt: VirtAddr(header.p_vaddr.get(LE)),
        phys: PhysAddr(header.p_paddr.get(LE)),
        offset: header.p_offset.get(LE),
        in_file: header.p_filesz.get(LE),
        in_memory: header.p_memsz.get(LE),
    })
}

/// The start of the file; shorter than `buffer` if the file is.
fn start<'a>(file: &File, buffer: &'a mut [u8]) -> Result<&'a [u8], DumpError> {
    let mut filled = 0_usize;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DumpError::Io(error)),
        }
    }
    Ok(buffer.get(..filled).unwrap_or_default())
}

/// Fills `bytes` from the table of headers.
fn read(file: &File, bytes: &mut [u8], at: u64) -> Result<(), DumpError> {
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        // pread(2) fails with EINVAL for an offset beyond the largest.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => DumpError::HeadersCut,
        _ => DumpError::Io(error),
    })
}

/// The structure at the start of `bytes`. Too few bytes mean that the file ends within it.
fn pod<T: object::Pod>(bytes: &[u8]) -> Result<&T, DumpError> {
    object::from_bytes(bytes).map(|(value, _)| value).map_err(|()| DumpError::HeadersCut)
}
