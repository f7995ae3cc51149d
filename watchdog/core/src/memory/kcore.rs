//! The RAM of the kernel that this program runs on, through `/proc/kcore`.
//!
//! The kernel generates this ELF core during the read (fs/proc/kcore.c, 6.1 to 6.18). It has one
//! segment for each stretch of System RAM, with its physical address (`KCORE_RAM`, `__pa`). Other
//! segments show the kernel's text (`KCORE_TEXT`, `__pa_symbol`), modules and page structures. This
//! module uses only the RAM segments. The text segment shows what is mapped there, and the kernel
//! unmaps parts of its image after boot. Pages that are offline, poisoned or missing from the
//! direct map read as zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::dump_error::DumpError;
use super::elf::NO_PHYSICAL_ADDRESS;
use super::extents::{Extent, Extents};
use super::reading::admit;
use super::refusal::{Reason, Refusal};
use super::{Memory, MemoryMap, PhysAddr, PhysRange, RangeSet, ReadError, VirtAddr, elf};

/// `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h, 6.1). The kernel's image, modules
/// and fixed mappings are here and above, the direct map is below.
const IMAGE_MAPPING: VirtAddr = VirtAddr(0xffff_ffff_8000_0000);

/// The RAM of this kernel.
#[derive(Debug)]
pub struct Kcore {
    file: File,
    /// The file header at the time of reading the segments.
    header: [u8; elf::FILE_HEADER],
    extents: Extents,
    /// All memory that kcore can serve.
    present: RangeSet,
    /// The part of it that the caller asked for.
    ranges: RangeSet,
    map: MemoryMap,
    direct_map: VirtAddr,
}

impl Kcore {
    /// Opens `path` (`/proc/kcore`, or a file of the same form) to serve the System RAM of `map`.
    /// If `asked` is given, serves only the part of it in `asked`.
    ///
    /// # Errors
    /// [`DumpError`]; lockdown and missing privilege are a [`DumpError::Io`].
    pub fn open(path: &Path, map: MemoryMap, asked: Option<&RangeSet>) -> Result<Self, DumpError> {
        let file = File::open(path)?;
        let mut header = [0; elf::FILE_HEADER];
        let elf::Headers { segments, .. } = elf::headers(&file)?;
        file.read_exact_at(&mut header, 0)?;
        let direct = || {
            let has_place = |it: &&elf::Segment| it.phys != NO_PHYSICAL_ADDRESS;
            segments.iter().filter(has_place).filter(|segment| segment.virt < IMAGE_MAPPING)
        };
        let begins = |segment: &elf::Segment| segment.virt.0.checked_sub(segment.phys.0);
        let direct_map = direct().next().and_then(begins).ok_or(DumpError::Empty)?;
        let list: Vec<Extent> = direct()
            .filter_map(|segment| {
                let size = segment.in_file.min(segment.in_memory);
                Extent::new(PhysRange::with_size(segment.phys, size)?, segment.offset)
            })
            .collect();
        let extents = Extents::merge(&list);
        let present = extents.ranges().intersection(&map.system_ram);
        if present.is_empty() {
            return Err(DumpError::Empty);
        }
        let ranges = asked.map_or_else(|| present.clone(), |asked| present.intersection(asked));
        Ok(Self { file, header, extents, present, ranges, map, direct_map: VirtAddr(direct_map) })
    }

    /// The virtual address at which the kernel maps physical address 0 (`page_offset_base`).
    #[must_use]
    pub const fn direct_map(&self) -> VirtAddr {
        self.direct_map
    }
}

impl Memory for Kcore {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        let missing = self.ranges.first_missing(range)?;
        let part = |range, reason| Some(Refusal { range, reason });
        if let Some(other) = self.map.system_ram.first_missing(&missing) {
            return match self.map.devices.parts(&other).next() {
                Some(device) => part(device, Reason::Device),
                None => part(other, Reason::NotSystemRam),
            };
        }
        match self.present.first_missing(&missing) {
            Some(absent) => part(absent, Reason::NotInKcore),
            None => part(missing, Reason::NotAsked),
        }
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let source_name = || "kcore".to_owned();
        if admit(self, at, buffer.len(), source_name)?.is_none() {
            return Ok(());
        }
        let length = buffer.len() as u64;
        let mut header = [0; elf::FILE_HEADER];
        self.extents
            .read(&self.file, at, buffer)
            // The data follows the headers. Their number (`e_phnum`) changes when memory is added
            // or removed, and the same offset then belongs to another address.
            .and_then(|()| self.file.read_exact_at(&mut header, 0))
            .and_then(|()| if header == self.header { Ok(()) } else { Err(changed()) })
            .map_err(|error| ReadError::Io { at, length, source_name: source_name(), error })
    }
}

fn changed() -> io::Error {
    io::Error::other("memory was added to this machine or removed during the read: start again")
}
