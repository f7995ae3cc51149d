//! Why a file is no kernel image to go by.

use std::io;
use std::path::PathBuf;

use super::format::{Format, MAX_PACKED, MAX_UNPACKED};

/// Why a file is no kernel image to go by.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error("cannot read the kernel image {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// The file's content is of no use.
    #[error("cannot use the kernel image {path}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: Box<Self>,
    },
    /// Reading failed half-way; the path is added further up.
    #[error(transparent)]
    Io(io::Error),
    /// The file is too large for a bzImage.
    #[error(
        "it is {size} bytes long, but no bzImage has more than {MAX_PACKED}: give the file that \
         the boot loader loads, as /boot/vmlinuz-RELEASE"
    )]
    TooLarge {
        /// Its bytes.
        size: u64,
    },
    /// The file is something else.
    #[error(
        "it is {0}: give the x86-64 kernel that the node boots, as /boot/vmlinuz-RELEASE, or the \
         vmlinux it was made from"
    )]
    Other(&'static str),
    /// The boot header cannot be right.
    #[error("{0}: the file is damaged or incomplete; fetch it again")]
    Header(String),
    /// The payload is in a format that is not unpacked here.
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
        /// What the decoder said.
        error: io::Error,
    },
    /// The payload says that it is larger than is unpacked.
    #[error(
        "its kernel would be {stated} bytes long unpacked, and the limit is {limit}: the file is \
         damaged; fetch it again"
    )]
    TooMuch {
        /// Bytes it is said to have.
        stated: u64,
        /// Bytes that are unpacked at most.
        limit: u64,
    },
    /// The payload has another size than it says.
    #[error(
        "its kernel is said to be {stated} bytes long unpacked, but is {found}: the file is \
         damaged; fetch it again"
    )]
    WrongSize {
        /// Bytes it is said to have.
        stated: u64,
        /// What was unpacked.
        found: String,
    },
    /// The kernel's ELF file is unsound, or not one the watchdog can go by.
    #[error("its vmlinux {0}: give the kernel as its vendor ships it, as /boot/vmlinuz-RELEASE")]
    Vmlinux(String),
}

const _: () = assert!(MAX_PACKED <= MAX_UNPACKED, "what is packed is the smaller");
