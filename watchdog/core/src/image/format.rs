//! How a kernel image may be packed, and how large it may be.

use std::fmt;

/// Most bytes of a packed image: 256 MiB. Debian's bzImages have 8 to 15 MB.
pub const MAX_PACKED: u64 = 256 << 20;

/// Most bytes of an unpacked image, or of a `vmlinux` that is judged by: 512 MiB. Debian's kernels
/// have 57 to 66 MB.
pub const MAX_UNPACKED: u64 = 512 << 20;

/// How a kernel is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The older format of xz's authors, `.lzma`.
    Lzma,
    /// xz, with the filter for x86 code.
    Xz,
    /// lzo, in the format of lzop.
    Lzo,
    /// lz4, its legacy format.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lzo => "lzo",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}
