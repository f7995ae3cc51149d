//! Sources of physical memory behind one trait, and typed addresses.
//!
//! The memory belongs to another kernel, which runs and may be hostile. A reader therefore copies
//! bytes once and judges only the copy. A file may come from anywhere: nothing in its headers is
//! believed without a check.

mod address;
mod devmem;
mod dump;
mod dump_error;
mod elf;
mod extents;
mod foreign;
mod image;
mod kcore;
mod lent;
mod lime;
mod live;
mod map;
mod map_error;
mod mapped;
mod open;
mod pieces;
mod range;
mod raw;
mod reading;
mod refusal;
mod resources;
mod revoked;
mod source;
mod source_error;
#[cfg(test)]
mod tests;
mod uses;
mod windows;

pub use address::{PAGE_SIZE, PhysAddr, VirtAddr};
pub use devmem::{DevMem, open_device};
pub use dump::Dump;
pub use dump_error::DumpError;
pub use kcore::Kcore;
pub use lent::{Lent, LentTo, instances};
pub use live::Live;
pub use map::MemoryMap;
pub use map_error::MapError;
pub use mapped::mapped;
pub use open::{open_devmem, open_elf, open_kcore, open_lime, open_live, open_pieces, open_raw};
pub use pieces::{PieceError, RawPiece};
pub use range::{PhysRange, RangeError, RangeSet, parse_address};
pub use raw::RawImage;
pub use reading::{Memory, ReadError};
pub use refusal::{Reason, Refusal};
pub use source::MemorySource;
pub use source_error::SourceError;
pub use uses::{MemoryUse, UseKind, uses};
