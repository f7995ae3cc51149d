//! The vendor's kernel image: unpacked, its ELF, its build id.
//!
//! A distribution ships its kernel as a [`bzimage`], which carries, packed in one of six ways
//! ([`payload`]), the kernel's ELF file without symbols ([`vmlinux`]). What the watchdog goes by in
//! it: where the text begins and ends, the GNU build id among the [`notes`], and the [`banner`].
//!
//! An image is named by the user and still not trusted: it may be damaged, or come from a mirror or
//! from the node itself. Every length in it is bounded, and nothing panics.

mod banner;
mod bzimage;
mod error;
mod format;
mod layout;
mod lz4;
#[cfg(test)]
mod made_up;
mod notes;
mod open;
mod payload;
mod relocations;
#[cfg(test)]
mod tests;
mod vendor;
mod vmlinux;

pub use error::ImageError;
pub use format::{Format, MAX_PACKED, MAX_UNPACKED};
pub use layout::{ImageSection, KernelImage};
pub use open::{open_unpacked, unpack};
pub use relocations::Relocations;
pub use vendor::VendorImage;
