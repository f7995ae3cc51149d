//! The node's memory, mapped through this kernel's `/dev/mem`.

use std::{fs::File, fs::OpenOptions, ops::Range};

use anyhow::{Context, Result};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, MmapRegion};
use watchdog_tests::layout::MAILBOX_SIZE;

use crate::boot::Placement;

/// A node's main range. Addresses are physical.
pub(crate) struct NodeMemory(GuestMemoryMmap);

impl NodeMemory {
    /// Maps the range. Fails if this kernel uses it as RAM.
    pub(crate) fn map(range: &Range<u64>) -> Result<Self> {
        let size = usize::try_from(range.end - range.start)?;
        let file = FileOffset::new(open()?, range.start);
        GuestMemoryMmap::from_ranges_with_files([(GuestAddress(range.start), size, Some(file))])
            .map(Self)
            .with_context(|| {
                format!(
                    "cannot map {:#x}..{:#x} of /dev/mem: is it reserved, by \
                     `memmap={size:#x}${:#x}` on this kernel's command line? See /proc/iomem",
                    range.start, range.end, range.start
                )
            })
    }

    /// Writes bytes at a physical address.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.0
            .write_slice(bytes, GuestAddress(at))
            .with_context(|| format!("{} bytes at {at:#x} are outside the node", bytes.len()))
    }

    /// Clears the mailbox, in which an earlier kernel may have left its mark.
    pub(crate) fn clear_mailbox(&self, placement: &Placement) -> Result<()> {
        self.write(placement.mailbox(), &vec![0; usize::try_from(MAILBOX_SIZE)?])
    }

    /// Returns the memory in the form that the rust-vmm crates use.
    pub(crate) fn guest(&self) -> &GuestMemoryMmap {
        &self.0
    }
}

/// Maps one page of physical memory outside any node.
pub(crate) fn map_page(at: u64) -> Result<MmapRegion> {
    MmapRegion::from_file(FileOffset::new(open()?, at), 0x1000)
        .with_context(|| format!("cannot map the page at {at:#x} of /dev/mem"))
}

/// Opens `/dev/mem` without `O_SYNC`, because that would make every mapping uncached.
fn open() -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/mem")
        .context("cannot open /dev/mem for writing: root is needed, and no lockdown")
}
