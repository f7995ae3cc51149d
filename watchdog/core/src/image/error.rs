//! Errors of files that are not usable kernel images.

use std::io;
use std::path::PathBuf;

use super::format::{Format, MAX_PACKED, MAX_UNPACKED};

/// Why a file is not a usable kernel image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error("cannot read the kernel image {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        error: io::Error,
    },
    /// The file's content is not usable.
    #[error("cannot use the kernel image {path}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: Box<Self>,
    },
    /// A read failed half-way. The caller adds the path.
    #[error(transparent)]
    Io(io::Error),
    /// The file is too large for a packed image.
    #[error(
        "it is {size} bytes long, and the limit for a packed image is {MAX_PACKED} (256 MiB): give \
         the file that the boot loader loads, as /boot/vmlinuz-RELEASE"
    )]
    TooLarge {
        /// Its bytes.
        size: u64,
    },
    /// The file is too large for a `vmlinux` that is judged by.
    #[error(
        "it is {size} bytes long, and the limit for a vmlinux is {MAX_UNPACKED} (512 MiB): give \
         the bzImage that the node boots, as /boot/vmlinuz-RELEASE, or leave out debug \
         information (objcopy --strip-debug FILE NEWFILE)"
    )]
    LargeVmlinux {
        /// Its bytes.
        size: u64,
    },
    /// The file has another format.
    #[error(
        "it is {0}: give the x86-64 kernel that the node boots, as /boot/vmlinuz-RELEASE, or the \
         vmlinux it was made from"
    )]
    Other(&'static str),
    /// The boot header is invalid.
    #[error("{0}: the file is damaged or incomplete; fetch it again")]
    Header(String),
    /// The payload has a format that this program does not unpack.
    #[error(
        "its kernel is packed {0}, which is not supported: unpack it with scripts/extract-vmlinux \
         of the Linux sources, and give the vmlinux"
    )]
    Unsupported(String),
    /// The payload cannot be unpacked.
    #[error(
        "its kernel, packed by {format}, cannot be unpacked ({error}): the file is damaged; fetch \
         it again"
    )]
    Unpack {
        /// How it is packed.
        format: Format,
        /// The decoder's error.
        error: io::Error,
    },
    /// The payload states a larger size than the limit.
    #[error(
        "its kernel would be {stated} bytes long unpacked, and the limit is {limit} (512 MiB): the \
         file is damaged (fetch it again), or is not the file that the node boots"
    )]
    TooMuch {
        /// The size that the payload states, in bytes.
        stated: u64,
        /// Most bytes that are unpacked.
        limit: u64,
    },
    /// A file that states no size unpacks to more than the limit.
    #[error(
        "packed by {format}, it unpacks to more than the limit of {limit} bytes (512 MiB): give \
         the bzImage that the node boots, as /boot/vmlinuz-RELEASE, or leave out debug \
         information (objcopy --strip-debug FILE NEWFILE)"
    )]
    Endless {
        /// How it is packed.
        format: Format,
        /// Most bytes that are unpacked.
        limit: u64,
    },
    /// Containers are in containers.
    #[error("it holds packed files in packed files, more deeply than any kernel image")]
    Nested,
    /// The file holds a kernel as flat bytes, or none.
    #[error(
        "it has no kernel's sections: a library of a VMM (libkrunfw), and a flat binary, hold the \
         kernel's bytes without the section headers that tell its parts apart. Give the vmlinux \
         that it was made from (of libkrunfw: linux-VERSION/vmlinux in its build folder), or the \
         bzImage of the same build"
    )]
    Flat,
    /// The payload unpacks to another size than it states.
    #[error(
        "its kernel is said to be {stated} bytes long unpacked, but is {found}: the file is \
         damaged; fetch it again"
    )]
    WrongSize {
        /// The size that the payload states, in bytes.
        stated: u64,
        /// The size of the unpacked bytes, as text.
        found: String,
    },
    /// The kernel's ELF file is damaged, or not one that the watchdog can use.
    #[error("its vmlinux {0}: give the kernel as its vendor ships it, as /boot/vmlinuz-RELEASE")]
    Vmlinux(String),
}

const _: () = assert!(MAX_PACKED <= MAX_UNPACKED, "what is packed is the smaller");
