//! Files, as the programs identify them.

/// A file as the kernel identifies it: the device of its superblock and its inode number. On btrfs
/// and overlayfs, stat(2) returns another device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileKey {
    /// `i_sb->s_dev`.
    pub device: u64,
    /// `i_ino`.
    pub inode: u64,
}

/// Bytes of the sieve in front of the table of files: a power of two.
pub const SIEVED: usize = 4096;

impl FileKey {
    /// No file, or a file whose inode cannot be read. The guard never registers inode number 0.
    pub const NONE: Self = Self { device: 0, inode: 0 };

    /// Whether this is [`FileKey::NONE`].
    #[must_use]
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.inode == 0
    }

    /// Its index in the sieve: the low bits of its inode number.
    #[must_use]
    #[inline(always)]
    pub const fn sieved(&self) -> usize {
        self.inode as usize & (SIEVED - 1)
    }
}

const _: () = assert!(size_of::<FileKey>() == 16);
