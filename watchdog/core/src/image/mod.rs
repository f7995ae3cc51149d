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
mod layout;
mod lz4;
#[cfg(test)]
mod made_up;
mod notes;
mod payload;
mod relocations;
#[cfg(test)]
mod tests;
mod vmlinux;

pub use error::ImageError;
pub use layout::{ImageSection, KernelImage};
pub use payload::Format;
pub use relocations::Relocations;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use object::read::ReadCache;

use crate::digest::Digest;
use crate::files;
use crate::memory::VirtAddr;

/// Most bytes a bzImage may have: 256 MiB. Debian's have 8 to 15 MB.
pub const MAX_PACKED: u64 = 256 << 20;

/// Most bytes its payload may unpack to: 512 MiB. Debian's kernels have 57 to 66 MB.
pub const MAX_UNPACKED: u64 = 512 << 20;

/// What a vendor's kernel image says of the kernel that boots from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorImage {
    build_id: Vec<u8>,
    build_id_note: Vec<u8>,
    build_id_note_offset: i64,
    text_virt: VirtAddr,
    text_size: u64,
    release: String,
    banner: String,
}

impl VendorImage {
    /// Reads a bzImage (`/boot/vmlinuz-RELEASE`) or a `vmlinux`, with or without symbols.
    ///
    /// A bzImage of at most [`MAX_PACKED`] bytes is read whole. Of a `vmlinux`, which may be huge
    /// with what a debugger needs, only the parts that are looked at are read.
    ///
    /// # Errors
    /// [`ImageError`], always one that names `path`.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let file =
            files::open(path).map_err(|error| ImageError::Read { path: path.to_owned(), error })?;
        Self::read(file).map_err(|error| match error {
            ImageError::Io(error) => ImageError::Read { path: path.to_owned(), error },
            error => ImageError::Unusable { path: path.to_owned(), error: Box::new(error) },
        })
    }

    /// The same of a file's content.
    ///
    /// # Errors
    /// [`ImageError`], without a path.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ImageError> {
        if vmlinux::is_elf(&bytes) {
            return vmlinux::read(bytes.as_slice());
        }
        let unpacked = unpack(&bytes)?;
        drop(bytes);
        vmlinux::read(unpacked.as_slice())
    }

    fn read(file: File) -> Result<Self, ImageError> {
        let mut magic = [0; vmlinux::MAGIC.len()];
        let is_elf = file.read_exact_at(&mut magic, 0).is_ok() && vmlinux::is_elf(&magic);
        if is_elf {
            return vmlinux::read(&ReadCache::new(file));
        }
        let size = file.metadata().map_err(ImageError::Io)?.len();
        if size > MAX_PACKED {
            return Err(ImageError::TooLarge { size });
        }
        let mut bytes = Vec::new();
        file.take(MAX_PACKED).read_to_end(&mut bytes).map_err(ImageError::Io)?;
        Self::parse(bytes)
    }

    /// The GNU build id: 8 to 64 bytes, usually the 20 of a SHA-1.
    #[must_use]
    pub fn build_id(&self) -> &[u8] {
        &self.build_id
    }

    /// The build id's note as it stands in the running kernel's memory, where nothing relocates it:
    /// the header of 12 bytes, `GNU\0`, the id.
    #[must_use]
    pub fn build_id_note(&self) -> &[u8] {
        &self.build_id_note
    }

    /// Bytes from `_stext` to [`Self::build_id_note`], by link addresses.
    ///
    /// The same by physical addresses: the boot code moves the whole image at once, and an image
    /// whose program headers would part the two is refused.
    #[must_use]
    pub fn build_id_note_offset(&self) -> i64 {
        self.build_id_note_offset
    }

    /// The address that `_stext` is linked at, which is where it is when KASLR is off.
    #[must_use]
    pub fn text_virt(&self) -> VirtAddr {
        self.text_virt
    }

    /// Bytes from `_stext` to `_etext`.
    #[must_use]
    pub fn text_size(&self) -> u64 {
        self.text_size
    }

    /// The release, as `uname -r` says it. Foreign text: escape it before it is shown.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The line `Linux version …`, as `/proc/version` has it, without its newline. Foreign text.
    #[must_use]
    pub fn banner(&self) -> &str {
        &self.banner
    }
}

/// Unpacks a bzImage: the kernel's ELF file, and behind it the relocations that KASLR applies
/// (`vmlinux.bin.all` of arch/x86/boot/compressed/Makefile).
///
/// At most [`MAX_UNPACKED`] bytes are made, and memory is used as they come.
///
/// # Errors
/// [`ImageError`], without a path.
pub fn unpack(bzimage: &[u8]) -> Result<Vec<u8>, ImageError> {
    payload::unpack(bzimage::payload(bzimage)?, MAX_UNPACKED)
}

/// Reads a kernel image and unpacks it: the SHA-256 of the file as it is, and the kernel's ELF file
/// with its relocations. A `vmlinux` has none, and is limited to [`MAX_UNPACKED`] bytes.
///
/// # Errors
/// [`ImageError`], always one that names `path`.
pub fn open_unpacked(path: &Path) -> Result<(Digest, Vec<u8>), ImageError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        files::open(path)?.take(MAX_UNPACKED).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| ImageError::Read { path: path.to_owned(), error })?;
    let digest = Digest::of(&bytes);
    if vmlinux::is_elf(&bytes) {
        return Ok((digest, bytes));
    }
    let unusable = |error| ImageError::Unusable { path: path.to_owned(), error: Box::new(error) };
    Ok((digest, unpack(&bytes).map_err(unusable)?))
}
