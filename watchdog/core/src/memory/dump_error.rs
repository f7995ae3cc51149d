//! Why a file is no dump that can be read.

use std::io;

/// Why a file is no dump that can be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another form, with what to do about it.
    #[error("{0}")]
    Foreign(&'static str),
    /// No magic number that is known.
    #[error("it is not an ELF file. For memory byte by byte, without headers, use raw:FILE[@PHYS]")]
    NotElf,
    /// ELF, but no core.
    #[error(
        "it is an ELF file but not a core (a kernel image or a program?). A core comes from \
         makedumpfile -E, a copy of /proc/vmcore or QEMU's dump-guest-memory"
    )]
    NotCore,
    /// ELF of another kind of machine.
    #[error("it is not a core of a 64-bit x86 machine; only such cores are read")]
    OtherMachine,
    /// Headers of a size that is not ELF's.
    #[error("its program headers have {0} bytes each, not 56: the file is damaged")]
    HeaderSize(u16),
    /// No magic number where a range begins.
    #[error(
        "it has no LiME header at offset {at:#x}: it is damaged or not a LiME image. For memory \
         byte by byte, without headers, use raw:FILE[@PHYS]"
    )]
    NotLime {
        /// Where in the file.
        at: u64,
    },
    /// A version that is not read.
    #[error(
        "it has version {0} of the LiME format; only version 1 is read. Expand what AVML \
         compressed with avml-convert FILE NEWFILE"
    )]
    LimeVersion(u32),
    /// More headers than a file header counts, and no section header that does.
    #[error("it does not say how many program headers it has: the file is damaged")]
    NoCount,
    /// More headers than are read.
    #[error("it has more than {0} headers: the file is damaged")]
    TooMany(u32),
    /// It ends within its headers.
    #[error("it ends within its headers: it was cut short. Copy the file again, or take a new one")]
    HeadersCut,
    /// A header that describes no memory that can be.
    #[error("{0} describes no range of physical memory: the file is damaged")]
    NoRange(String),
    /// Bytes of the file stand for several addresses each.
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
    /// There is nothing in it.
    #[error("it holds no physical memory")]
    Empty,
}
