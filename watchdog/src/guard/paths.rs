//! The write paths that the guard denies.

use std::fmt;

use watchdog_common::path;

/// A way to write to physical memory through `/dev/mem`. Numbers in the documentation's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WritePath {
    /// 1: opening it for writing.
    Open,
    /// 3: write(2) and its kin, aio, io_uring.
    Write,
    /// 4: a shared writable mapping.
    Mmap,
    /// 5: remap_file_pages(2).
    RemapFilePages,
    /// 6: making a read-only shared mapping writable.
    Mprotect,
}

impl WritePath {
    /// Every path, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Write, Self::Mmap, Self::RemapFilePages, Self::Mprotect];

    /// The number that programs use for it.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Open => path::OPEN,
            Self::Write => path::WRITE,
            Self::Mmap => path::MMAP,
            Self::RemapFilePages => path::REMAP_FILE_PAGES,
            Self::Mprotect => path::MPROTECT,
        }
    }

    /// The path of a number.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.number() == number)
    }
}

impl fmt::Display for WritePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::Write => "write",
            Self::Mmap => "mmap",
            Self::RemapFilePages => "remap-file-pages",
            Self::Mprotect => "mprotect",
        })
    }
}
