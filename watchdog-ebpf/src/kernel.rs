//! Fields of kernel structures, at the offsets that BTF gave.

use core::ffi::c_void;
use core::ptr::null;

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated::bpf_get_current_task_btf};
use watchdog_common::{FileKey, Offsets};

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ZERO;

/// `/dev/mem` is 1:1 (`MKDEV(MEM_MAJOR, DEVMEM_MINOR)`, 20 bits of minor: include/linux/kdev_t.h).
pub(crate) const DEV_MEM: u32 = (1 << 20) | 1;
/// `/dev/port` is 1:4 (`DEVPORT_MINOR`, drivers/char/mem.c).
pub(crate) const DEV_PORT: u32 = (1 << 20) | 4;
const S_IFMT: u16 = 0o170_000;
const S_IFCHR: u16 = 0o020_000;
/// `FMODE_WRITE` (include/linux/fs.h).
const FMODE_WRITE: u32 = 2;

/// A pointer to a kernel object.
pub(crate) type Object = *const c_void;

/// One offset of the table. Read as volatile, or the compiler would fold in the zeroes above; and
/// by itself, since the whole table would be copied: the verifier knows what a frozen table has,
/// and puts the number in its place.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::word_at(core::mem::offset_of!(watchdog_common::Offsets, $field))
    };
}
pub(crate) use offset;

/// One word of the table; for [`offset`].
#[inline(always)]
pub(crate) fn word_at(byte: usize) -> u32 {
    // SAFETY: inside of a static of this program, all of whose fields are words.
    unsafe { core::ptr::read_volatile((&raw const OFFSETS).byte_add(byte).cast::<u32>()) }
}

/// Reads a field; `None` for a null object or an address that is none.
#[inline(always)]
pub(crate) fn field<T>(object: Object, offset: u32) -> Option<T> {
    if object.is_null() {
        return None;
    }
    // SAFETY: bpf_probe_read_kernel checks the address by itself.
    unsafe { bpf_probe_read_kernel(object.byte_add(offset as usize).cast::<T>()) }.ok()
}

/// Reads a field of an object that the verifier knows the type of and that is there: an argument of
/// the program's own which the kernel never leaves null, or what was loaded from one. One
/// instruction, where [`field`] is a call; but of a null argument that it takes for none, as
/// `mmap_file`'s before 7.2, the kernel would crash.
///
/// # Safety
/// The object must be such a one, and the field of this type.
#[inline(always)]
unsafe fn load<T>(object: Object, offset: u32) -> T {
    // SAFETY: the caller answers for it; the verifier checks type and place once more.
    unsafe { core::ptr::read_volatile(object.byte_add(offset as usize).cast::<T>()) }
}

/// An open file that is there: the argument of a program whose function never gets none.
#[derive(Clone, Copy)]
pub(crate) struct OpenFile(Object);

impl OpenFile {
    /// # Safety
    /// `file` must be the program's own argument, and never null.
    #[inline(always)]
    pub(crate) unsafe fn argument(file: Object) -> Self {
        Self(file)
    }

    /// As [`device`].
    #[inline(always)]
    pub(crate) fn device(self) -> Option<u32> {
        // SAFETY: an open file has an inode.
        let (number, mode) = unsafe {
            let inode: Object = load(self.0, offset!(file_inode));
            (load::<u32>(inode, offset!(inode_rdev)), load::<u16>(inode, offset!(inode_mode)))
        };
        (number != 0 && mode & S_IFMT == S_IFCHR).then_some(number)
    }

    /// Whether it is open for writing.
    #[inline(always)]
    pub(crate) fn is_writable(self) -> bool {
        // SAFETY: a field of it.
        unsafe { load::<u32>(self.0, offset!(file_mode)) & FMODE_WRITE != 0 }
    }

    /// Its name, a `struct dentry`.
    #[inline(always)]
    pub(crate) fn name(self) -> Object {
        // SAFETY: an open file has a name.
        unsafe { load(self.0, offset!(file_dentry)) }
    }

    /// Its inode, and the number by which its kind of file system is known.
    #[inline(always)]
    pub(crate) fn inode(self) -> (Object, u64) {
        // SAFETY: an open file has an inode, and an inode a superblock.
        unsafe {
            let inode: Object = load(self.0, offset!(file_inode));
            let superblock: Object = load(inode, offset!(inode_superblock));
            (inode, load(superblock, offset!(superblock_magic)))
        }
    }

    /// As [`file_key`].
    #[inline(always)]
    pub(crate) fn key(self) -> FileKey {
        // SAFETY: as above.
        unsafe { key_of_inode(load(self.0, offset!(file_inode))) }
    }

    /// The same of the folder that its name is in.
    #[inline(always)]
    pub(crate) fn folder(self) -> FileKey {
        // SAFETY: an open file has a name, a name is in a folder (its own, for a root), and a
        // folder that has a name in it has an inode.
        unsafe {
            let name: Object = load(self.0, offset!(file_dentry));
            let folder: Object = load(name, offset!(dentry_parent));
            key_of_inode(load(folder, offset!(dentry_inode)))
        }
    }
}

/// As [`inode_key`], of an inode that is there: the argument of a program whose hook never gets
/// none.
///
/// # Safety
/// `inode` must be the program's own argument or what was loaded from one, and never null.
#[inline(always)]
pub(crate) unsafe fn key_of_inode(inode: Object) -> FileKey {
    // SAFETY: the caller answers for it; an inode has a superblock.
    unsafe {
        let superblock: Object = load(inode, offset!(inode_superblock));
        let device = load::<u32>(superblock, offset!(superblock_device));
        FileKey { device: device.into(), inode: load(inode, offset!(inode_number)) }
    }
}

/// A name that is there: the argument of a program whose hook never gets none, or of one that is
/// given a path.
#[derive(Clone, Copy)]
pub(crate) struct Name(Object);

impl Name {
    /// # Safety
    /// `dentry` must be the program's own argument, and never null.
    #[inline(always)]
    pub(crate) unsafe fn argument(dentry: Object) -> Self {
        Self(dentry)
    }

    /// # Safety
    /// `path` must be the program's own argument, a `struct path`, and never null.
    #[inline(always)]
    pub(crate) unsafe fn of_path(path: Object) -> Self {
        // SAFETY: the caller answers for it; a path has a name.
        Self(unsafe { load(path, offset!(path_dentry)) })
    }

    /// The file that has it; no number for a name that nothing has.
    #[inline(always)]
    pub(crate) fn key(self) -> FileKey {
        // SAFETY: a name that is there, and an inode that is not null.
        unsafe {
            let inode: Object = load(self.0, offset!(dentry_inode));
            if inode.is_null() { FileKey::default() } else { key_of_inode(inode) }
        }
    }

    /// The folder that it is in; a root's is itself.
    #[inline(always)]
    pub(crate) fn folder(self) -> FileKey {
        // SAFETY: every name is in a folder.
        Self(unsafe { load(self.0, offset!(dentry_parent)) }).key()
    }
}

/// The number of the character device that a `struct file` is, whatever its name; `None` for every
/// other file. A block device may share the number.
#[inline(always)]
pub(crate) fn device(file: Object) -> Option<u32> {
    let inode = field::<Object>(file, offset!(file_inode))?;
    let number = field::<u32>(inode, offset!(inode_rdev)).filter(|number| *number != 0)?;
    let mode = field::<u16>(inode, offset!(inode_mode))?;
    (mode & S_IFMT == S_IFCHR).then_some(number)
}

/// Whether a `struct file` is `/dev/mem`.
#[inline(always)]
pub(crate) fn is_dev_mem(file: Object) -> bool {
    device(file) == Some(DEV_MEM)
}

/// The current task.
#[inline(always)]
pub(crate) fn current_task() -> Object {
    // SAFETY: the helper takes nothing and returns the current task.
    unsafe { bpf_get_current_task_btf() as Object }
}

/// An inode as it is told from others. One that cannot be read has no number, as no file has: a
/// value in either case, since the verifier does not see that one is used in one case alone.
#[inline(always)]
fn inode_key(inode: Object) -> FileKey {
    let superblock = field::<Object>(inode, offset!(inode_superblock)).unwrap_or(null());
    let device = field::<u32>(superblock, offset!(superblock_device)).unwrap_or_default();
    FileKey {
        device: device.into(),
        inode: field(inode, offset!(inode_number)).unwrap_or_default(),
    }
}

/// The same of a `struct file`.
#[inline(always)]
pub(crate) fn file_key(file: Object) -> FileKey {
    inode_key(field::<Object>(file, offset!(file_inode)).unwrap_or(null()))
}

/// The same of a `struct dentry`; no number for one without an inode: a name that nothing has.
#[inline(always)]
pub(crate) fn dentry_key(dentry: Object) -> FileKey {
    inode_key(field::<Object>(dentry, offset!(dentry_inode)).unwrap_or(null()))
}
