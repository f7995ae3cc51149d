//! Sources of physical memory behind one trait, and typed addresses.
//!
//! What is read here belongs to another kernel, which may be hostile and is
//! running: bytes are always copied out once, and only the copy is judged. A file may come from
//! anybody: nothing that its headers say is believed unchecked.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::allow_attributes,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod address;
mod devmem;
mod dump;
mod elf;
mod extents;
mod foreign;
mod image;
mod kcore;
mod lime;
mod live;
mod map;
mod mapped;
mod open;
mod range;
mod raw;
mod refusal;
mod revoked;
mod source;
#[cfg(test)]
mod tests;
mod uses;

pub use address::{PAGE_SIZE, PhysAddr, VirtAddr};
pub use devmem::{DevMem, open_device};
pub use dump::{Dump, DumpError};
pub use kcore::Kcore;
pub use live::Live;
pub use map::{MapError, MemoryMap};
pub use mapped::mapped;
pub use open::{SourceError, open_devmem, open_elf, open_kcore, open_lime, open_live, open_raw};
pub use range::{PhysRange, RangeError, RangeSet, parse_address};
pub use raw::RawImage;
pub use refusal::{Reason, Refusal};
pub use source::MemorySource;
pub use uses::{MemoryUse, UseKind, uses};

/// Physical memory that can be read.
pub trait Memory: Send + Sync {
    /// The physical ranges this source can serve.
    fn ranges(&self) -> &RangeSet;

    /// The first part of `range` that this source cannot serve, and why; `None` when it can serve
    /// all of it.
    fn refusal(&self, range: &PhysRange) -> Option<Refusal> {
        let missing = self.ranges().first_missing(range)?;
        Some(Refusal { range: missing, reason: Reason::NotAsked })
    }

    /// Fills `buffer` with the bytes at physical address `at` on.
    ///
    /// The memory may belong to a running kernel: two reads of one place may differ.
    ///
    /// # Errors
    /// When part of it is outside [`Memory::ranges`] or the source refuses.
    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Whether the memory is known to stand still: that of a core file does, a raw image may be
    /// the live memory of a machine.
    fn is_at_rest(&self) -> bool {
        false
    }
}

/// Why physical memory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No memory has these addresses.
    #[error("{length} bytes at physical {at} are outside the memory source ({source_name})")]
    Outside {
        /// First physical address asked for.
        at: PhysAddr,
        /// Bytes asked for.
        length: u64,
        /// The source, as the user named it.
        source_name: String,
    },
    /// The source does not serve a part of it.
    #[error("cannot read {length} bytes at physical {at} from {source_name}: {refusal}")]
    Refused {
        /// First physical address asked for.
        at: PhysAddr,
        /// Bytes asked for.
        length: u64,
        /// The source, as the user named it.
        source_name: String,
        /// Which part, and why.
        refusal: Box<Refusal>,
    },
    /// The operating system refused.
    #[error("cannot read {length} bytes at physical {at} from {source_name}")]
    Io {
        /// First physical address asked for.
        at: PhysAddr,
        /// Bytes asked for.
        length: u64,
        /// The source, as the user named it.
        source_name: String,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
}
