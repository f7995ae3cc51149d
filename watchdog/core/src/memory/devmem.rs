//! Live physical memory through `/dev/mem`, by mmap.
//!
//! `read(2)` on `/dev/mem` stops at node 0's `high_memory` (drivers/char/mem.c,
//! `valid_phys_addr_range`, 6.1 to 7.2); mmap does not. This module opens the device without
//! `O_SYNC` or `O_DSYNC`, which would make the mapping uncached.

use std::fs::{File, OpenOptions};
use std::io;
use std::iter;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use super::reading::admit;
use super::windows::{Window, Windows};
use super::{
    Memory, MemoryMap, PAGE_SIZE, PhysAddr, PhysRange, RangeSet, ReadError, Reason, Refusal,
};
use crate::text::printable;

/// The machine's memory device, and its number (Documentation/admin-guide/devices.txt, 6.12).
const DEVICE: &str = "/dev/mem";
const NUMBER: (u32, u32) = (1, 1);
/// Bytes mapped at a time: large enough for any kernel text in one or two windows.
const WINDOW: u64 = 64 << 20;
/// Bytes of a claim's name that are shown.
const CLAIMANT_SHOWN: usize = 64;

/// A memory device, read through windows that are mapped on demand.
#[derive(Debug)]
pub struct DevMem {
    device: File,
    /// Memory that the made-up kernel of a test refuses to map.
    #[cfg(test)]
    refused: Mutex<RangeSet>,
    path: PathBuf,
    ranges: RangeSet,
    map: Option<MemoryMap>,
    /// Parts that the kernel refused when the source was opened, and who claims them.
    claimed: Vec<(PhysRange, String)>,
    windows: Mutex<Windows>,
}

/// Opens `/dev/mem` for reading, or for writing as well.
///
/// # Errors
/// The error of open(2), or that the name leads to another file.
pub fn open_device(for_writing: bool) -> io::Result<File> {
    let device = OpenOptions::new().read(true).write(for_writing).open(DEVICE)?;
    let status = device.metadata()?;
    let number = (rustix::fs::major(status.rdev()), rustix::fs::minor(status.rdev()));
    if status.file_type().is_char_device() && number == NUMBER {
        return Ok(device);
    }
    Err(io::Error::other(format!(
        "{DEVICE} is not the kernel's memory device: something is mounted over it"
    )))
}

impl DevMem {
    /// Opens `/dev/mem` to serve `ranges`.
    ///
    /// The caller must ensure that `ranges` is memory: reading device registers can have side
    /// effects.
    ///
    /// # Errors
    /// As [`open_device`]. Lockdown and missing privilege both cause an error here.
    pub fn open(ranges: RangeSet) -> io::Result<Self> {
        Ok(Self::new(open_device(false)?, Path::new(DEVICE), ranges))
    }

    /// Opens a file with the layout of `/dev/mem`.
    ///
    /// # Errors
    /// The error of open(2).
    pub fn open_file(path: &Path, ranges: RangeSet) -> io::Result<Self> {
        Ok(Self::new(File::open(path)?, path, ranges))
    }

    fn new(device: File, path: &Path, ranges: RangeSet) -> Self {
        let path = path.to_owned();
        Self {
            device,
            #[cfg(test)]
            refused: Mutex::default(),
            path,
            ranges,
            map: None,
            claimed: Vec::new(),
            windows: Mutex::default(),
        }
    }

    /// Adds the machine's memory map, which explains refusals. Memory that a driver claims, and
    /// that the kernel therefore refuses, is left out of the source.
    #[must_use]
    pub fn explained_by(self, map: MemoryMap) -> Self {
        let refused = |range: &PhysRange| {
            let pieces = windows_of(*range);
            pieces.filter(|it| self.map_range(it).is_err_and(|error| is_refusal(&error)))
        };
        let lent = map.lent.iter().map(|it| (it.range, it.to.to_string()));
        let mut claimed = Vec::new();
        for (range, name) in map.claimed.iter().cloned().chain(lent) {
            let parts: Vec<_> = self.ranges.parts(&range.whole_pages()).collect();
            let name = printable(name.as_bytes(), CLAIMANT_SHOWN);
            let why = format!("claimed by a driver as `{name}`");
            claimed.extend(parts.iter().flat_map(refused).map(|range| (range, why.clone())));
        }
        let left_out: RangeSet = claimed.iter().map(|(range, _)| *range).collect();
        let ranges = self.ranges.difference(&left_out);
        Self { map: Some(map), claimed, ranges, ..self }
    }

    /// Copies from the window that holds `at`. If the kernel revoked that window, maps a new one.
    fn copy(&self, at: PhysAddr, within: &PhysRange, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..2 {
            let window = self.window(at, within)?;
            if let Some(copied) = window.copy(at, buffer) {
                return Ok(copied);
            }
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            windows.kept.retain(|_, kept| !Arc::ptr_eq(&kept.window, &window));
        }
        Err(io::Error::other("the kernel revoked the memory: it now has another user"))
    }

    /// The refusal of a page, if `error` says that a driver uses it.
    fn claimed_since(&self, at: PhysAddr, error: &io::Error) -> Option<Refusal> {
        let why = match error.raw_os_error() {
            // `remap_pfn_range()` found another cache attribute (`reserve_pfn_range()`,
            // arch/x86/mm/pat/memtype.c, 6.1; `mmap_mem()` makes EAGAIN of it).
            Some(libc::EAGAIN) => "mapped by a driver with another cache attribute",
            Some(_) if is_refusal(error) => "claimed by a driver, as /proc/iomem may show",
            _ => return None,
        };
        Some(Refusal { range: PhysRange::page_at(at), reason: Reason::Claimed(why.to_owned()) })
    }

    fn map_range(&self, range: &PhysRange) -> io::Result<MmapRaw> {
        #[cfg(test)]
        if self.refused.lock().unwrap_or_else(PoisonError::into_inner).overlaps(range) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let length = usize::try_from(range.size()).map_err(io::Error::other)?;
        MmapOptions::new().offset(range.start().0).len(length).map_raw_read_only(&self.device)
    }

    /// Maps the largest part of the window around `at` that the kernel allows. The kernel refuses a
    /// mapping with a single page that a driver claims.
    fn map_around(&self, at: PhysAddr, within: &PhysRange) -> io::Result<(PhysRange, MmapRaw)> {
        let mut size = WINDOW;
        loop {
            let offset = size.saturating_sub(1);
            let start = PhysAddr(at.0 & !offset).max(within.start().page());
            let end = PhysAddr((at.0 | offset).saturating_add(1)).min(within.whole_pages().end());
            let range = PhysRange::new(start, end).ok_or(io::ErrorKind::InvalidInput)?;
            match self.map_range(&range) {
                Ok(mapping) => return Ok((range, mapping)),
                Err(error) if size <= PAGE_SIZE || !is_refusal(&error) => return Err(error),
                Err(_) => size /= 2,
            }
        }
    }

    /// The window that holds `at`; maps it if necessary.
    fn window(&self, at: PhysAddr, within: &PhysRange) -> io::Result<Arc<Window>> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.find(at) {
            return Ok(window);
        }
        // A window never leaves its range.
        let (range, mapping) = self.map_around(at, within)?;
        let window = Arc::new(Window::new(range, mapping));
        windows.keep(&window);
        Ok(window)
    }
}

/// Whether an error of mmap says that the kernel refuses a page of the range (`mmap_mem()`,
/// drivers/char/mem.c, 6.1 to 7.2).
fn is_refusal(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [libc::EPERM, libc::EAGAIN, libc::EBUSY].into_iter().any(|it| code == Some(it))
}

/// Cuts a range into pieces no larger than a window: mapping a piece fills its page tables.
fn windows_of(range: PhysRange) -> impl Iterator<Item = PhysRange> {
    let mut rest = Some(range);
    iter::from_fn(move || {
        let now = rest?;
        let end = now.start().checked_add(WINDOW).map_or(now.end(), |end| end.min(now.end()));
        rest = PhysRange::new(end, now.end());
        PhysRange::new(now.start(), end)
    })
}

impl Memory for DevMem {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        let missing = self.ranges.first_missing(range)?;
        let claimed = |(range, why): &(PhysRange, String)| {
            let reason = Reason::Claimed(why.clone());
            Some(Refusal { range: range.intersection(&missing)?, reason })
        };
        if let Some(refusal) = self.claimed.iter().find_map(claimed) {
            return Some(refusal);
        }
        let known = self.map.as_ref().and_then(|map| map.refusal_of_devmem(&missing));
        Some(known.unwrap_or(Refusal { range: missing, reason: Reason::NotAsked }))
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let source_name = || self.path.display().to_string();
        let length = buffer.len() as u64;
        let Some(wanted) = admit(self, at, buffer.len(), source_name)? else {
            return Ok(());
        };
        // An admitted range lies in one range of the source, because ranges that touch are merged.
        let within = self.ranges.find(at).copied().unwrap_or(wanted);
        let (mut next, mut rest) = (at, buffer);
        while !rest.is_empty() {
            let failed = |error| match self.claimed_since(next, &error) {
                Some(refusal) => {
                    let (source_name, refusal) = (source_name(), Box::new(refusal));
                    ReadError::Refused { at, length, source_name, refusal }
                }
                None => ReadError::Io { at, length, source_name: source_name(), error },
            };
            let copied = self.copy(next, &within, rest).map_err(failed)?;
            rest = rest.get_mut(copied..).unwrap_or_default();
            next = next.checked_add(copied as u64).unwrap_or(next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
