//! The machine's physical memory from the host's view.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, fd::OwnedFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, SeekFrom, ftruncate, memfd_create, seek};
use vm_memory::{FileOffset, MmapRegion};

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

/// Physical memory in a file without a name, which disappears when the last process closes it.
/// Below 2 GiB, the file offset is the physical address.
pub struct Ram {
    file: File,
    size: u64,
}

impl Ram {
    /// Makes memory of `size` bytes, all zero. Pages are allocated when they are written.
    pub(crate) fn new(size: u64) -> Result<Self> {
        let memory: OwnedFd =
            memfd_create("node-machine-ram", MemfdFlags::CLOEXEC).context("no memory file")?;
        ftruncate(&memory, size)?;
        Ok(Self { file: memory.into(), size })
    }

    /// Loads memory from a file that [`Self::save`] wrote.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let saved = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let ram = Self::new(saved.metadata()?.len())?;
        // Pages of zeros are holes already.
        copy_data(&saved, &ram.file, |part| std::iter::once((0, part)).collect())
            .with_context(|| format!("cannot load {}", path.display()))?;
        Ok(ram)
    }

    /// Returns the size of memory in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns a path of the live memory, which other processes of this user can open while this
    /// process lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd()).into()
    }

    /// Reads at a physical address.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(bytes, at)
            .with_context(|| format!("no {} bytes of memory at {at:#x}", bytes.len()))
    }

    /// Writes at a physical address, as a device could. No kernel notices it.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, at)
            .with_context(|| format!("cannot write {} bytes at {at:#x}", bytes.len()))
    }

    /// Copies memory to a sparse file. For a consistent copy, stop the machine first.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let copy =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        copy.set_len(self.size)?;
        copy_data(&self.file, &copy, |part| runs(part).collect())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Maps a part of memory.
    pub(super) fn map(&self, at: u64, size: u64) -> Result<MmapRegion> {
        let file = FileOffset::new(self.file.try_clone()?, at);
        MmapRegion::from_file(file, usize::try_from(size)?).context("cannot map memory")
    }

    /// The open file, for QEMU.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Copies the data of one file, without its holes, to the same offsets in another. `wanted` returns
/// the pieces of each chunk that are copied, with their offsets.
fn copy_data(
    from: &File,
    to: &File,
    wanted: impl Fn(&[u8]) -> Vec<(usize, &[u8])>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut end = 0;
    while let Ok(start) = seek(from, SeekFrom::Data(end)) {
        end = seek(from, SeekFrom::Hole(start))?;
        let mut at = start;
        while at < end {
            let length = chunk.len().min(usize::try_from(end - at).unwrap_or(chunk.len()));
            let part = &mut chunk[..length];
            from.read_exact_at(part, at)?;
            for (offset, run) in wanted(part) {
                to.write_all_at(run, at + offset as u64)?;
            }
            at += length as u64;
        }
    }
    Ok(())
}

/// Returns the runs of pages that are not all zero, with their offsets.
fn runs(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let is_zero = |page: &&[u8]| page.iter().all(|byte| *byte == 0);
    let pages = |from: usize| bytes.get(from..).unwrap_or_default().chunks(PAGE);
    let mut end = 0;
    std::iter::from_fn(move || {
        let start = end + PAGE * pages(end).take_while(is_zero).count();
        end = start + PAGE * pages(start).take_while(|page| !is_zero(page)).count();
        Some((start, bytes.get(start..end.min(bytes.len()))?)).filter(|(_, run)| !run.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the copy is equal, that pages of zeros become holes, and that an incomplete last
    /// page is copied as well.
    #[test]
    fn zeros_become_holes() {
        const SIZE: usize = 3 * CHUNK + 100;
        let mut bytes = vec![0; SIZE];
        bytes[5 * PAGE..7 * PAGE].fill(1);
        bytes[2 * CHUNK - 1] = 2;
        bytes[SIZE - 1] = 3;
        let file = || tempfile::tempfile().expect("a file");
        let (from, to) = (file(), file());
        from.write_all_at(&bytes, 0).expect("room");
        to.set_len(SIZE as u64).expect("room");
        copy_data(&from, &to, |part| runs(part).collect()).expect("readable and writable");
        let mut copied = vec![0; SIZE];
        to.read_exact_at(&mut copied, 0).expect("as long");
        assert!(copied == bytes);
        let places: Vec<_> = runs(&bytes).map(|(at, run)| (at, run.len())).collect();
        let last = (SIZE - 1) / PAGE * PAGE;
        let expected = [(5 * PAGE, 2 * PAGE), (2 * CHUNK - PAGE, PAGE), (last, SIZE - last)];
        assert_eq!(places, expected);
    }
}
