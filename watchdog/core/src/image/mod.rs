//! The vendor's kernel image: unpacked, its ELF, its build id.
//!
//! A distribution ships its kernel as a [`bzimage`]. It holds the kernel's ELF file without symbols
//! ([`vmlinux`]), packed in one of seven ways ([`payload`]). A [`container`] may hold the bzImage
//! or the ELF file: a unified kernel image, an EFI zboot image, a compressed file. The watchdog
//! takes from the ELF file the bounds of the text, the GNU build id among the [`notes`], and the
//! [`banner`]. [`KernelImage`] also lays out all loaded sections, with the relocations of KASLR.
//!
//! The user names the image, but it is not trusted: it may be damaged, or come from a mirror or
//! from the node itself. Every length in it is bounded, and nothing panics.

mod banner;
mod bzimage;
mod container;
mod debug;
mod error;
mod format;
mod layout;
mod linked;
mod lz4;
mod lzo;
#[cfg(test)]
pub(crate) mod made_up;
mod notes;
mod open;
mod payload;
mod pe;
mod relocations;
mod symtab;
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
