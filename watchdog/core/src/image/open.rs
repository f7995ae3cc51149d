//! Opening a kernel image.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use object::read::ReadCache;

use super::error::ImageError;
use super::format::{MAX_PACKED, MAX_UNPACKED};
use super::vendor::VendorImage;
use super::{container, vmlinux};
use crate::digest::Digest;
use crate::files;

impl VendorImage {
    /// Reads a bzImage (`/boot/vmlinuz-RELEASE`) or a `vmlinux`, with or without symbols, or a file
    /// that holds one of them ([`unpack`]).
    ///
    /// A packed image of at most [`MAX_PACKED`] bytes is read whole. Of a `vmlinux`, only the
    /// needed parts are read: debug information can make it huge.
    ///
    /// # Errors
    /// [`ImageError`], which always names `path`.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let file =
            files::open(path).map_err(|error| ImageError::Read { path: path.to_owned(), error })?;
        Self::read(file).map_err(|error| match error {
            ImageError::Io(error) => ImageError::Read { path: path.to_owned(), error },
            error => ImageError::Unusable { path: path.to_owned(), error: Box::new(error) },
        })
    }

    /// Reads an image from its bytes.
    ///
    /// # Errors
    /// [`ImageError`], without a path.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ImageError> {
        Self::parse_at_most(bytes, MAX_UNPACKED)
    }

    /// As [`Self::parse`], but unpacks to at most `limit` bytes.
    ///
    /// # Errors
    /// [`ImageError`], without a path.
    pub fn parse_at_most(bytes: Vec<u8>, limit: u64) -> Result<Self, ImageError> {
        if vmlinux::is_elf(&bytes) {
            return vmlinux::read(bytes.as_slice());
        }
        let unpacked = container::kernel(&bytes, limit)?;
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
}

/// Unpacks a bzImage to the kernel's ELF file, followed by the relocations that KASLR applies
/// (`vmlinux.bin.all` of arch/x86/boot/compressed/Makefile). The bzImage, or a `vmlinux`, may be in
/// a unified kernel image or an EFI zboot image, or packed as a whole.
///
/// The result has at most [`MAX_UNPACKED`] bytes, and is allocated as they come.
///
/// # Errors
/// [`ImageError`], without a path.
pub fn unpack(image: &[u8]) -> Result<Vec<u8>, ImageError> {
    container::kernel(image, MAX_UNPACKED)
}

/// Reads a kernel image and unpacks it. Returns the SHA-256 of the file as it is, and the kernel's
/// ELF file with its relocations. A `vmlinux` has no relocations, and is limited to
/// [`MAX_UNPACKED`] bytes.
///
/// # Errors
/// [`ImageError`], which always names `path`.
pub fn open_unpacked(path: &Path) -> Result<(Digest, Vec<u8>), ImageError> {
    let read = || -> io::Result<(u64, Vec<u8>)> {
        let mut bytes = Vec::new();
        let file = files::open(path)?;
        let size = file.metadata()?.len();
        file.take(MAX_UNPACKED).read_to_end(&mut bytes)?;
        Ok((size, bytes))
    };
    let (size, bytes) =
        read().map_err(|error| ImageError::Read { path: path.to_owned(), error })?;
    let unusable = |error| ImageError::Unusable { path: path.to_owned(), error: Box::new(error) };
    let is_elf = vmlinux::is_elf(&bytes);
    if is_elf && size > MAX_UNPACKED {
        return Err(unusable(ImageError::LargeVmlinux { size }));
    }
    if !is_elf && size > MAX_PACKED {
        return Err(unusable(ImageError::TooLarge { size }));
    }
    let digest = Digest::of(&bytes);
    if is_elf {
        return Ok((digest, bytes));
    }
    Ok((digest, unpack(&bytes).map_err(unusable)?))
}
