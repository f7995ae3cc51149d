//! Dumps: files of memory whose headers give the addresses. ELF cores and LiME images.
//!
//! Headers are not trusted. Memory that they promise beyond the end of the file is not served, and
//! a remark reports it. The file is refused if a range wraps, or if the ranges hold more memory
//! than the file has bytes. If several headers name one address, the first in the file serves it.
//! kdump lists the kernel's text twice, and QEMU with paging lists every mapping of a page.

use std::fs::File;
use std::path::Path;

use super::dump_error::DumpError;
use super::elf::NO_PHYSICAL_ADDRESS;
use super::extents::{Extent, Extents};
use super::reading::admit;
use super::{Memory, PhysAddr, PhysRange, RangeSet, ReadError, Reason, Refusal, elf, image, lime};

/// An open dump.
#[derive(Debug)]
pub struct Dump {
    file: File,
    name: String,
    extents: Extents,
    ranges: RangeSet,
    /// Memory that the headers promise, but the file does not hold.
    cut: RangeSet,
    incomplete: bool,
}

impl Dump {
    /// Opens an ELF core, which is served by its physical addresses.
    ///
    /// # Errors
    /// [`DumpError`].
    pub fn open_elf(path: &Path) -> Result<Self, DumpError> {
        let (file, length) = image::open(path)?;
        let elf::Headers { segments, incomplete } = elf::headers(&file)?;
        let mut promised = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            // Memory beyond the part in the file is unknown, not zero.
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

    /// Makes a dump of a file of `length` bytes, whose headers promise these ranges at these
    /// offsets.
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
        // Otherwise a small file could name more memory than a search can cover.
        if ranges.size() > length {
            return Err(DumpError::MoreThanFile { memory: ranges.size(), file: length });
        }
        if ranges.is_empty() {
            return Err(DumpError::Empty);
        }
        let cut = missing.into_iter().collect::<RangeSet>().difference(&ranges);
        Ok(Self { file, name, extents, ranges, cut, incomplete })
    }

    /// A remark if the file is incomplete.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        if !self.cut.is_empty() {
            let (name, missing) = (&self.name, self.cut.size());
            return Some(format!(
                "{name} was cut short: {missing} bytes of memory that its headers name are \
                 missing (from {} on)",
                self.cut.ranges().first()?
            ));
        }
        let name = &self.name;
        self.incomplete
            .then(|| format!("{name} is incomplete: the program that wrote it did not finish"))
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
            // The memory before the cut part is a hole, and is reported first.
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
