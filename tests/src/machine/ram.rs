//! The machine's physical memory, as the host sees it.

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

/// Physical memory; it has no name, so it is gone when the last process that
/// holds it ends. Below 2 GiB, file offset is physical address.
pub struct Ram {
    file: File,
    size: u64,
}

impl Ram {
    /// Memory of `size` bytes, all zero; pages exist once they are written.
    pub(super) fn new(size: u64) -> Result<Self> {
        let memory: OwnedFd =
            memfd_create("node-machine-ram", MemfdFlags::CLOEXEC).context("no memory file")?;
        ftruncate(&memory, size)?;
        Ok(Self { file: memory.into(), size })
    }

    /// Bytes of memory.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A path under which other processes of this user can open the live
    /// memory while this process lives.
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

    /// Writes at a physical address, as a device could: no kernel notices.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, at)
            .with_context(|| format!("cannot write {} bytes at {at:#x}", bytes.len()))
    }

    /// Copies memory to a sparse file. Stop the machine first, or the copy is
    /// of no single moment.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let mut copy =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        copy.set_len(self.size)?;
        let mut source = self.file.try_clone()?;
        let mut end = 0;
        while let Ok(start) = seek(&self.file, SeekFrom::Data(end)) {
            end = seek(&self.file, SeekFrom::Hole(start))?;
            seek(&copy, SeekFrom::Start(start))?;
            seek(&source, SeekFrom::Start(start))?;
            io::copy(&mut io::Read::take(&mut source, end - start), &mut copy)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
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
