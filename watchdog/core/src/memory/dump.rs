//! A dump: memory in a file that says itself which address what has. ELF cores and LiME images.
//!
//! Headers are not trusted. What they promise beyond the end of the file is not served, and said;
//! a range that wraps, or more memory than the file has bytes, refuses the file. Where several
//! headers name one address, the first in the file serves it: kdump lists the kernel's text
//! twice, QEMU with paging lists every mapping of a page.

use std::fs::File;
use std::io;
use std::path::Path;

use super::extents::{Extent, Extents};
use super::refusal::{Reason, Refusal, admit};
use super::{Memory, PhysAddr, PhysRange, RangeSet, ReadError, elf, image, lime};

/// What an ELF core has as physical address of memory that has none: `(elf_addr_t)-1`
/// (fs/proc/kcore.c, 6.1 to 6.18).
pub(super) const NO_PHYSICAL_ADDRESS: PhysAddr = PhysAddr(u64::MAX);

/// Why a file is no dump that can be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another form, with what to do about it.
    #[error("{0}")]
    Foreign(&'static str),
    /// No magic number that is known.
    #[error("it is no ELF file. Memory byte for byte, without headers, is raw:FILE[@PHYS]")]
    NotElf,
    /// ELF, but no core.
    #[error(
        "it is an ELF file but no core (a kernel image or a program?): a core is what makedumpfile -E, a copy of /proc/vmcore or QEMU's dump-guest-memory gives"
    )]
    NotCore,
    /// ELF of another kind of machine.
    #[error("it is not of a 64-bit x86 machine; only such cores are read")]
    OtherMachine,
    /// Headers of a size that is not ELF's.
    #[error("its program headers have {0} bytes each and not 56: the file is damaged")]
    HeaderSize(u16),
    /// No magic number where a range begins.
    #[error(
        "it has no LiME header at offset {at:#x}: it is damaged or no LiME image. Memory byte for byte, without headers, is raw:FILE[@PHYS]"
    )]
    NotLime {
        /// Where in the file.
        at: u64,
    },
    /// A version that is not read.
    #[error(
        "it is of version {0} of the LiME format and only version 1 is read. What AVML compressed is expanded by avml-convert FILE NEWFILE"
    )]
    LimeVersion(u32),
    /// More headers than a file header counts, and no section header that does.
    #[error("it does not say how many program headers it has: the file is damaged")]
    NoCount,
    /// More headers than are read.
    #[error("it has more than {0} headers: the file is damaged")]
    TooMany(u32),
    /// It ends within its headers.
    #[error("it ends within its headers: it was cut short. Copy it or take it again")]
    HeadersCut,
    /// A header that describes no memory that can be.
    #[error("{0} describes no range of physical memory: the file is damaged")]
    NoRange(String),
    /// Bytes of the file stand for several addresses each.
    #[error(
        "its headers speak of {memory} bytes of memory and the file has {file}: the file is damaged"
    )]
    MoreThanFile {
        /// Bytes of memory.
        memory: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// There is nothing in it.
    #[error("it holds no physical memory")]
    Empty,
}

/// An open dump.
#[derive(Debug)]
pub struct Dump {
    file: File,
    name: String,
    extents: Extents,
    ranges: RangeSet,
    /// What headers promise and the file does not have.
    cut: RangeSet,
    incomplete: bool,
}

impl Dump {
    /// Opens an ELF core by its physical addresses.
    ///
    /// # Errors
    /// [`DumpError`].
    pub fn open_elf(path: &Path) -> Result<Self, DumpError> {
        let (file, length) = image::open(path)?;
        let elf::Headers { segments, incomplete } = elf::headers(&file)?;
        let mut promised = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            // Memory beyond what is in the file is not zero but unknown.
            let size = segment.in_file.min(segment.in_memory);
            if segment.phys == NO_PHYSICAL_ADDRESS || size == 0 {
                continue;
            }
            let range = PhysRange::with_size(segment.phys, size)
                .ok_or_else(|| DumpError::NoRange(format!("program header of segment {n}")))?;
            promised.push((range, segment.offset));
        }
        Self::new(file, length, format!("elf:{}", path.display()), &promised, incomplete)
    }

    /// Opens a LiME image.
    ///
    /// # Errors
    /// [`DumpError`].
    pub fn open_lime(path: &Path) -> Result<Self, DumpError> {
        let (file, length) = image::open(path)?;
        let lime::Headers { ranges, cut } = lime::headers(&file, length)?;
        Self::new(file, length, format!("lime:{}", path.display()), &ranges, cut)
    }

    /// A dump of `length` bytes whose headers promise these ranges at these offsets.
    fn new(
        file: File,
        length: u64,
        name: String,
        promised: &[(PhysRange, u64)],
        incomplete: bool,
    ) -> Result<Self, DumpError> {
        let mut held = Vec::new();
        let mut missing = Vec::new();
        for &(range, offset) in promised {
            let here = range.size().min(length.saturating_sub(offset));
            let end = range.start().checked_add(here).unwrap_or(range.end());
            let memory = PhysRange::new(range.start(), end);
            held.extend(memory.and_then(|memory| Extent::new(memory, offset)));
            missing.extend(PhysRange::new(end, range.end()));
        }
        let extents = Extents::merge(&held);
        let ranges = extents.ranges();
        // Else a small file could name more memory than anybody can search.
        if ranges.size() > length {
            return Err(DumpError::MoreThanFile { memory: ranges.size(), file: length });
        }
        if ranges.is_empty() {
            return Err(DumpError::Empty);
        }
        let cut = missing.into_iter().collect::<RangeSet>().difference(&ranges);
        Ok(Self { file, name, extents, ranges, cut, incomplete })
    }

    /// What there is to say about the file as a whole: that it is not all there.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        if !self.cut.is_empty() {
            let (name, missing) = (&self.name, self.cut.size());
            return Some(format!(
                "{name} was cut short: {missing} bytes of memory that its headers name are not in it (from {} on)",
                self.cut.ranges().first()?
            ));
        }
        let name = &self.name;
        self.incomplete
            .then(|| format!("{name} is incomplete: what wrote it did not get to the end"))
    }
}

impl Memory for Dump {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn is_at_rest(&self) -> bool {
        true
    }

    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        let missing = self.ranges.first_missing(range)?;
        if let Some(cut) = self.cut.parts(&missing).next() {
            // What lies before it is a hole and comes first.
            return Some(match PhysRange::new(missing.start(), cut.start()) {
                Some(hole) => image::left_out(&self.ranges, hole),
                None => Refusal { range: cut, reason: Reason::CutShort },
            });
        }
        Some(image::left_out(&self.ranges, missing))
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let source_name = || self.name.clone();
        if admit(self, at, buffer.len(), source_name)?.is_none() {
            return Ok(());
        }
        let length = buffer.len() as u64;
        self.extents.read(&self.file, at, buffer).map_err(|error| ReadError::Io {
            at,
            length,
            source_name: source_name(),
            error,
        })
    }
}
