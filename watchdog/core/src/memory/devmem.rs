//! Live physical memory through `/dev/mem`, by mmap.
//!
//! `read(2)` on `/dev/mem` stops at node 0's `high_memory` (drivers/char/mem.c,
//! `valid_phys_addr_range`, 6.1 to 7.2); mmap does not. This module opens the device without
//! `O_SYNC` or `O_DSYNC`, which would make the mapping uncached.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use super::reading::admit;
use super::{
    Memory, MemoryMap, PhysAddr, PhysRange, RangeSet, ReadError, Reason, Refusal, revoked,
};

/// The machine's memory device, and its number (Documentation/admin-guide/devices.txt, 6.12).
const DEVICE: &str = "/dev/mem";
const NUMBER: (u32, u32) = (1, 1);
/// Bytes mapped at a time: large enough for any kernel text in one or two windows.
const WINDOW: u64 = 64 << 20;
/// The bits of an address that are its offset in a window.
const WINDOW_OFFSET: u64 = WINDOW - 1;
/// Most windows that stay mapped: 16 GiB. Pointers in a node's memory therefore cannot make each
/// read map another window. A window costs at most 128 KiB of page tables.
const WINDOWS_KEPT: usize = 256;

/// A memory device, read through windows that are mapped on demand.
#[derive(Debug)]
pub struct DevMem {
    device: File,
    path: PathBuf,
    ranges: RangeSet,
    map: Option<MemoryMap>,
    windows: Mutex<Windows>,
}

/// The mapped windows, by their first address.
#[derive(Debug, Default)]
struct Windows {
    kept: BTreeMap<PhysAddr, Kept>,
    /// Number of window uses so far.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    window: Arc<Window>,
    /// The value of `uses` at the last use of this window.
    used: u64,
}

#[derive(Debug)]
struct Window {
    range: PhysRange,
    mapping: MmapRaw,
    /// Whether the kernel revoked any page of it.
    is_gone: AtomicBool,
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
        Self { device, path: path.to_owned(), ranges, map: None, windows: Mutex::default() }
    }

    /// Adds the machine's memory map, which explains refusals.
    #[must_use]
    pub fn explained_by(self, map: MemoryMap) -> Self {
        Self { map: Some(map), ..self }
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

    /// The window that holds `at`; maps it if necessary.
    fn window(&self, at: PhysAddr, within: &PhysRange) -> io::Result<Arc<Window>> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.find(at) {
            return Ok(window);
        }
        // A window never leaves its range: the kernel refuses a mapping with one forbidden page.
        let start = PhysAddr(at.0 & !WINDOW_OFFSET).max(within.start().page());
        let end =
            PhysAddr((at.0 | WINDOW_OFFSET).saturating_add(1)).min(within.whole_pages().end());
        let range = PhysRange::new(start, end).ok_or(io::ErrorKind::InvalidInput)?;
        let length = usize::try_from(range.size()).map_err(io::Error::other)?;
        let mapping = MmapOptions::new()
            .offset(range.start().0)
            .len(length)
            .map_raw_read_only(&self.device)?;
        let window = Arc::new(Window { range, mapping, is_gone: AtomicBool::new(false) });
        windows.keep(&window);
        Ok(window)
    }
}

impl Windows {
    /// Finds the window that holds `at`, and marks it as used.
    fn find(&mut self, at: PhysAddr) -> Option<Arc<Window>> {
        let (_, kept) = self.kept.range_mut(..=at).next_back()?;
        if !kept.window.range.contains(at) {
            return None;
        }
        self.uses = self.uses.saturating_add(1);
        kept.used = self.uses;
        Some(Arc::clone(&kept.window))
    }

    /// Adds a window, marked as used. Drops the least recently used one if there are too many.
    fn keep(&mut self, window: &Arc<Window>) {
        if self.kept.len() >= WINDOWS_KEPT {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            let oldest = oldest.map(|(start, _)| *start);
            oldest.and_then(|start| self.kept.remove(&start));
        }
        self.uses = self.uses.saturating_add(1);
        let kept = Kept { window: Arc::clone(window), used: self.uses };
        self.kept.insert(window.range.start(), kept);
    }
}

impl Window {
    /// Copies the part of `buffer` that the window holds from `at` on, and returns its length.
    /// `None` if the kernel revoked the mapping.
    fn copy(&self, at: PhysAddr, buffer: &mut [u8]) -> Option<usize> {
        let offset = at.checked_sub(self.range.start()).and_then(|at| usize::try_from(at).ok());
        let Some((offset, left)) =
            offset.and_then(|offset| Some((offset, self.mapping.len().checked_sub(offset)?)))
        else {
            return Some(0);
        };
        let count = buffer.len().min(left);
        let buffer = buffer.get_mut(..count)?;
        // SAFETY: `offset + count` is within the mapping, which lives as long as `self` and is
        // private to it. Another kernel owns the source and may change it during the copy. The
        // source is therefore copied by pointer, and never borrowed as a slice.
        unsafe { revoked::copy(self.mapping.as_ptr().add(offset), buffer, &self.is_gone) };
        (!self.is_gone.load(Ordering::SeqCst)).then_some(count)
    }
}

impl Memory for DevMem {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        let missing = self.ranges.first_missing(range)?;
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
        let failed = |error| ReadError::Io { at, length, source_name: source_name(), error };
        let (mut next, mut rest) = (at, buffer);
        while !rest.is_empty() {
            let copied = self.copy(next, &within, rest).map_err(failed)?;
            rest = rest.get_mut(copied..).unwrap_or_default();
            next = next.checked_add(copied as u64).unwrap_or(next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Check that a read of revoked memory is an error, and that the memory beside it stays
    /// readable. Once the memory is back, it is readable again.
    #[test]
    fn revocation() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fill = |size: u64| {
            file.as_file().set_len(size).unwrap();
            std::os::unix::fs::FileExt::write_at(file.as_file(), b"there", size - 5).unwrap();
        };
        fill(0x4000);
        let all = PhysRange::new(PhysAddr(0), PhysAddr(0x4000)).unwrap();
        let memory = DevMem::open_file(file.path(), RangeSet::from_iter([all])).unwrap();
        let mut bytes = [0; 5];
        memory.read(PhysAddr(0x3ffb), &mut bytes).unwrap();
        file.as_file().set_len(0x1000).unwrap();
        let error = memory.read(PhysAddr(0x3ffb), &mut bytes).unwrap_err();
        assert!(matches!(error, ReadError::Io { .. }), "{error:?}");
        memory.read(PhysAddr(0xffb), &mut bytes).unwrap();
        fill(0x4000);
        memory.read(PhysAddr(0x3ffb), &mut bytes).unwrap();
        assert_eq!(&bytes, b"there");
    }

    /// Check that reads across window borders return the device's bytes. Check that the least
    /// recently used windows are dropped, and that nothing outside the ranges is served.
    #[test]
    fn windows() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let size = WINDOW * (WINDOWS_KEPT as u64 + 2);
        file.as_file().set_len(size).unwrap();
        file.write_all(&[7; 16]).unwrap();
        std::os::unix::fs::FileExt::write_at(file.as_file(), b"border", WINDOW - 3).unwrap();
        let all = PhysRange::new(PhysAddr(0), PhysAddr(size)).unwrap();
        let memory = DevMem::open_file(file.path(), RangeSet::from_iter([all])).unwrap();

        let mut bytes = [0; 6];
        memory.read(PhysAddr(WINDOW - 3), &mut bytes).unwrap();
        assert_eq!(&bytes, b"border");
        for window in 0..WINDOWS_KEPT as u64 + 2 {
            memory.read(PhysAddr(window * WINDOW), &mut bytes).unwrap();
            // A window that is used in every round stays.
            memory.read(PhysAddr(WINDOW), &mut bytes).unwrap();
        }
        let starts: Vec<_> = memory.windows.lock().unwrap().kept.keys().copied().collect();
        assert_eq!(starts.len(), WINDOWS_KEPT);
        let expected = [1].into_iter().chain(3..WINDOWS_KEPT as u64 + 2);
        assert_eq!(starts, expected.map(|n| PhysAddr(n * WINDOW)).collect::<Vec<_>>());
        memory.read(PhysAddr(0), &mut bytes).unwrap();
        assert_eq!(bytes, [7; 6]);
        assert!(matches!(
            memory.read(PhysAddr(size - 3), &mut bytes),
            Err(ReadError::Refused { .. })
        ));
    }
}
