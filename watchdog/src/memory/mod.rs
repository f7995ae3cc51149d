//! Sources of physical memory behind one trait, and typed addresses.
//!
//! What is read here belongs to another kernel, which may be hostile and is
//! running: bytes are always copied out once, and only the copy is judged.

mod address;
mod devmem;
mod map;
mod range;
mod raw;
mod source;

pub use address::{PAGE_SIZE, PhysAddr, VirtAddr};
pub use devmem::DevMem;
pub use map::{MapError, MemoryMap};
pub use range::{PhysRange, RangeError, RangeSet, parse_address};
pub use raw::RawImage;
pub use source::{MemorySource, SourceError, open_devmem, open_raw};

/// Physical memory that can be read.
pub trait Memory: Send + Sync {
    /// The physical ranges this source can serve.
    fn ranges(&self) -> &RangeSet;

    /// Fills `buffer` with the bytes at physical address `at` on.
    ///
    /// The memory may belong to a running kernel: two reads of one place may differ.
    ///
    /// # Errors
    /// When part of it is outside [`Memory::ranges`] or the source refuses.
    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError>;
}

/// Why physical memory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source does not hold these addresses.
    #[error("{length} bytes at physical {at} are outside the memory source ({source_name})")]
    Outside {
        /// First physical address asked for.
        at: PhysAddr,
        /// Bytes asked for.
        length: u64,
        /// The source, as the user named it.
        source_name: String,
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
