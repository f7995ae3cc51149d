//! Files, as the programs identify them.

/// A file as the kernel identifies it: the device of its superblock and its inode number. stat(2)
/// gives another device on btrfs and overlayfs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileKey {
    /// `i_sb->s_dev`.
    pub device: u64,
    /// `i_ino`.
    pub inode: u64,
}

/// Places of the sieve before the table of files: a power of two.
pub const SIEVED: usize = 4096;

impl FileKey {
    /// No file, or one whose inode cannot be read: the guard registers no inode number 0.
    pub const NONE: Self = Self { device: 0, inode: 0 };

    /// Whether this is no file.
    #[must_use]
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.inode == 0
    }

    /// Its place in the sieve: the last bits of its inode number.
    #[must_use]
    #[inline(always)]
    pub const fn sieved(&self) -> usize {
        self.inode as usize & (SIEVED - 1)
    }
}

const _: () = assert!(size_of::<FileKey>() == 16);
