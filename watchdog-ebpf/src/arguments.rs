//! Arguments of hooks whose types the verifier knows, and structures that they lead to.
//!
//! A field takes one load here, and a call of a helper in [`structures`](crate::structures). But
//! the kernel crashes on a null argument that the verifier considers valid, as in `mmap_file`
//! before 7.2. These types are therefore only for arguments that are never null.

use watchdog_common::FileKey;

use crate::kernel::{Object, offset};
use crate::pointer::Structure;
use crate::structures::{Path, VfsMount, is_character_device};

/// `FMODE_WRITE` (include/linux/fs.h).
const FMODE_WRITE: u32 = 2;

/// Loads a field.
///
/// # Safety
/// `object` must never be null. It must be an argument of the program, or loaded from one. The
/// field must have this type.
#[inline(always)]
unsafe fn load<T>(object: Object, offset: u32) -> T {
    // SAFETY: the caller answers for it. The verifier checks type and place.
    unsafe { core::ptr::read_volatile(object.byte_add(offset as usize).cast::<T>()) }
}

/// A `struct file`.
#[derive(Clone, Copy)]
pub(crate) struct FileArgument(Object);

impl FileArgument {
    /// # Safety
    /// `file` must be an argument of the program, and never null.
    #[inline(always)]
    pub(crate) unsafe fn new(file: Object) -> Self {
        Self(file)
    }

    /// The number of the character device, if it is one. A block device may have the same number.
    #[inline(always)]
    pub(crate) fn device(self) -> Option<u32> {
        let inode = self.inode();
        // SAFETY: fields of an inode.
        let (number, mode) = unsafe {
            (load::<u32>(inode.0, offset!(inode_rdev)), load::<u16>(inode.0, offset!(inode_mode)))
        };
        (number != 0 && is_character_device(mode)).then_some(number)
    }

    /// Whether the file is open for writing.
    #[inline(always)]
    pub(crate) fn is_writable(self) -> bool {
        // SAFETY: a field of a file.
        unsafe { load::<u32>(self.0, offset!(file_mode)) & FMODE_WRITE != 0 }
    }

    /// Its name.
    #[inline(always)]
    pub(crate) fn dentry(self) -> DentryArgument {
        // SAFETY: an open file has a name.
        DentryArgument(unsafe { load(self.0, offset!(file_dentry)) })
    }

    /// Its inode.
    #[inline(always)]
    pub(crate) fn inode(self) -> InodeArgument {
        // SAFETY: an open file has an inode.
        InodeArgument(unsafe { load(self.0, offset!(file_inode)) })
    }

    /// The folder of its name. Unlike [`DentryArgument::folder`], this always exists: the name of
    /// an open file is in an existing folder.
    #[inline(always)]
    pub(crate) fn folder(self) -> FileKey {
        // SAFETY: a name is in a folder (a root in itself), and a folder that has a name in it has
        // an inode.
        unsafe {
            let folder: Object = load(self.dentry().0, offset!(dentry_parent));
            InodeArgument(load(folder, offset!(dentry_inode))).key()
        }
    }

    /// Its address, which identifies the open file.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }
}

/// A `struct inode`.
#[derive(Clone, Copy)]
pub(crate) struct InodeArgument(Object);

impl InodeArgument {
    /// # Safety
    /// `inode` must be an argument of the program, and never null.
    #[inline(always)]
    pub(crate) unsafe fn new(inode: Object) -> Self {
        Self(inode)
    }

    /// The key that identifies the file.
    #[inline(always)]
    pub(crate) fn key(self) -> FileKey {
        // SAFETY: an inode has a superblock.
        unsafe {
            let device: u32 = load(self.superblock(), offset!(superblock_device));
            FileKey { device: device.into(), inode: load(self.0, offset!(inode_number)) }
        }
    }

    /// The magic number of its kind of file system (include/uapi/linux/magic.h).
    #[inline(always)]
    pub(crate) fn file_system(self) -> u64 {
        // SAFETY: a field of a superblock.
        unsafe { load(self.superblock(), offset!(superblock_magic)) }
    }

    #[inline(always)]
    fn superblock(self) -> Object {
        // SAFETY: an inode has a superblock.
        unsafe { load(self.0, offset!(inode_superblock)) }
    }

    /// The pointer, for fields that are read by a helper.
    #[inline(always)]
    pub(crate) fn object(self) -> Object {
        self.0
    }
}

/// A `struct path`.
#[derive(Clone, Copy)]
pub(crate) struct PathArgument(Object);

impl PathArgument {
    /// # Safety
    /// `path` must be an argument of the program, and never null.
    #[inline(always)]
    pub(crate) unsafe fn new(path: Object) -> Self {
        Self(path)
    }

    /// Its name.
    #[inline(always)]
    pub(crate) fn dentry(self) -> DentryArgument {
        // SAFETY: a path has a name.
        DentryArgument(unsafe { load(self.0, offset!(path_dentry)) })
    }

    /// Its mount. A helper reads it, because the verifier allows no arithmetic with a pointer of
    /// known type.
    #[inline(always)]
    pub(crate) fn mount(self) -> Option<VfsMount> {
        Path::at(self.0)?.mount()
    }
}

/// A `struct dentry`.
#[derive(Clone, Copy)]
pub(crate) struct DentryArgument(Object);

impl DentryArgument {
    /// # Safety
    /// `dentry` must be an argument of the program, and never null.
    #[inline(always)]
    pub(crate) unsafe fn new(dentry: Object) -> Self {
        Self(dentry)
    }

    /// The file with this name; [`FileKey::NONE`] for a name without a file.
    #[inline(always)]
    pub(crate) fn key(self) -> FileKey {
        // SAFETY: a field of a name.
        let inode: Object = unsafe { load(self.0, offset!(dentry_inode)) };
        if inode.is_null() { FileKey::NONE } else { InodeArgument(inode).key() }
    }

    /// The folder of this name. A root is its own folder.
    #[inline(always)]
    pub(crate) fn folder(self) -> FileKey {
        // SAFETY: every name is in a folder.
        Self(unsafe { load(self.0, offset!(dentry_parent)) }).key()
    }

    /// The pointer, for fields that are read by a helper.
    #[inline(always)]
    pub(crate) fn object(self) -> Object {
        self.0
    }
}
