//! Errors of files that cannot be read as dumps.

use std::io;

/// Why a file cannot be read as a dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file has another known format; the text says how to convert it.
    #[error("{0}")]
    Foreign(&'static str),
    /// The magic number is unknown.
    #[error("it is not an ELF file. For memory byte by byte, without headers, use raw:FILE[@PHYS]")]
    NotElf,
    /// The file is ELF, but not a core.
    #[error(
        "it is an ELF file but not a core (a kernel image or a program?). A core comes from \
         makedumpfile -E, a copy of /proc/vmcore or QEMU's dump-guest-memory"
    )]
    NotCore,
    /// The file is ELF for another kind of machine.
    #[error("it is not a core of a 64-bit x86 machine; only such cores are read")]
    OtherMachine,
    /// The program headers do not have ELF's size.
    #[error("its program headers have {0} bytes each, not 56: the file is damaged")]
    HeaderSize(u16),
    /// A range does not begin with the magic number.
    #[error(
        "it has no LiME header at offset {at:#x}: it is damaged or not a LiME image. For memory \
         byte by byte, without headers, use raw:FILE[@PHYS]"
    )]
    NotLime {
        /// Offset in the file.
        at: u64,
    },
    /// This program does not read this version.
    #[error(
        "it has version {0} of the LiME format; only version 1 is read. Expand what AVML \
         compressed with avml-convert FILE NEWFILE"
    )]
    LimeVersion(u32),
    /// The file header cannot count the headers, and no section header does.
    #[error("it does not say how many program headers it has: the file is damaged")]
    NoCount,
    /// The file has more headers than this program reads.
    #[error("it has more than {0} headers: the file is damaged")]
    TooMany(u32),
    /// The file ends within its headers.
    #[error("it ends within its headers: it was cut short. Copy the file again, or take a new one")]
    HeadersCut,
    /// A header describes a range of memory that cannot exist.
    #[error("{0} describes no range of physical memory: the file is damaged")]
    NoRange(String),
    /// The headers describe more memory than the file has bytes.
    #[error(
        "its headers describe {memory} bytes of memory, but the file has {file}: the file is \
         damaged"
    )]
    MoreThanFile {
        /// Bytes of memory.
        memory: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// The file holds no memory.
    #[error("it holds no physical memory")]
    Empty,
}
