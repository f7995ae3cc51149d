//! The kernel structures that the programs read.
//!
//! A value of these types is a pointer that is not null, but may be invalid. A helper reads each
//! field and checks the address. The result is `None` if the kernel cannot read the field, or if
//! the field is a null pointer.

use watchdog_common::{FileKey, ITSELF, MISSING};

use crate::kernel::{Object, offset, read};
use crate::pointer::{Pointer, Structure, structures};

/// `/dev/mem` is 1:1 (`MKDEV(MEM_MAJOR, DEVMEM_MINOR)`, 20 bits of minor: include/linux/kdev_t.h).
pub(crate) const DEV_MEM: u32 = (1 << 20) | 1;
/// `/dev/port` is 1:4 (`DEVPORT_MINOR`, drivers/char/mem.c).
pub(crate) const DEV_PORT: u32 = (1 << 20) | 4;
/// `task_struct::ptrace` of a task without a tracer (include/linux/ptrace.h).
const NO_TRACER: u32 = 0;
const S_IFMT: u16 = 0o170_000;
const S_IFCHR: u16 = 0o020_000;

structures! {
    /// `struct task_struct`. Its `pid` is the thread's, its `tgid` the process's.
    Task {
        pid: u32 = task_pid,
        tgid: u32 = task_tgid,
        comm: [u8; 16] = task_comm,
        ptrace: u32 = task_ptrace,
        seccomp_mode: i32 = task_seccomp,
        voluntary_switches: u64 = task_switches,
        involuntary_switches: u64 = task_preemptions,
    } -> { parent: Task = task_parent, cred: Cred = task_cred, mm: Mm = task_mm }

    /// `struct cred`.
    Cred { uid: u32 = cred_uid }

    /// `struct mm_struct`: an address space. Its `context_id` is never used twice. Its `pgd` is the
    /// topmost page table, at its address in the direct map.
    Mm { pgd: u64 = mm_pgd, context_id: u64 = mm_context_id } -> { exe_file: File = mm_exe_file }

    /// `struct vm_area_struct`: a mapping. Start and end are virtual addresses. `pgoff` counts
    /// pages.
    Vma {
        start: u64 = vma_start,
        end: u64 = vma_end,
        flags: u64 = vma_flags,
        pgoff: u64 = vma_pgoff,
    } -> { file: File = vma_file, mm: Mm = vma_mm }

    /// `struct vm_fault`.
    Fault {} -> { vma: Vma = fault_vma }

    /// `struct file`: an open file.
    File {} -> { inode: Inode = file_inode, dentry: Dentry = file_dentry }

    /// `struct inode`. The number of a device has 20 bits of minor.
    Inode {
        device_number: u32 = inode_rdev,
        mode: u16 = inode_mode,
        number: u64 = inode_number,
    } -> { superblock: SuperBlock = inode_superblock }

    /// `struct super_block`.
    SuperBlock { device: u32 = superblock_device }

    /// `struct dentry`: a name in a folder. A root is its own parent.
    Dentry { name: Object = dentry_name } -> {
        parent: Dentry = dentry_parent,
        inode: Inode = dentry_inode,
    }

    /// `struct path`.
    Path {} -> { mount: VfsMount = path_mount }

    /// `struct vfsmount`: the part of a [`Mount`] that hooks get.
    VfsMount {} -> { root: Dentry = vfsmount_root }

    /// `struct mount`. Its group is 0 unless the mount is shared.
    Mount { group: u32 = mount_group } -> {
        namespace: MountNamespace = mount_namespace,
        parent: Mount = mount_parent,
    }

    /// `struct mnt_namespace`.
    MountNamespace { number: u32 = namespace_number }

    /// `struct linux_binprm`: an execution.
    Execution {} -> { file: File = binprm_file }

    /// `struct resource`: physical memory. `last` is the last byte.
    Resource { start: u64 = resource_start, last: u64 = resource_end }

    /// `struct bpf_map`.
    BpfMap { id: u32 = map_id }

    /// `struct bpf_prog`.
    BpfProgram {
        kind: u32 = program_type,
        attach_type: u32 = program_attach_type,
        length: u32 = program_length,
    } -> { aux: BpfAux = program_aux }

    /// `struct bpf_prog_aux`.
    BpfAux { id: u32 = aux_id, attach_id: u32 = aux_attach_id }

    /// `struct socket`.
    Socket {} -> { file: File = socket_file, sock: Sock = socket_sock }

    /// `struct sock`.
    Sock {} -> { filter: Pointer = sock_filter, user_data: Pointer = sock_user_data }

    /// `struct iattr`: the attributes of an inode to set.
    Attributes { valid: u32 = attributes_valid }

    /// `struct perf_event`.
    PerfEvent {} -> { target: Task = event_target }

    /// `struct proc_inode`: contains an inode of a procfs. Files without a process have no pid.
    ProcInode {} -> { pid: Pid = proc_pid }

    /// `struct pid`. The first link points to the `pid_links` of the task with this number.
    Pid {} -> { first_link: Pointer = pid_tasks }
}

impl Task {
    /// The current task.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        Self(Pointer::current_task())
    }

    /// Whether the task has a tracer, or that cannot be read.
    #[inline(always)]
    pub(crate) fn may_be_traced(self) -> bool {
        self.ptrace() != Some(NO_TRACER)
    }

    /// The file that it executes.
    #[inline(always)]
    pub(crate) fn executable(self) -> Option<File> {
        self.mm()?.exe_file()
    }
}

impl Mm {
    /// The address space in which a uprobe is set, from the second argument of `set_swbp`. The
    /// argument is that address space, or on later kernels a mapping of it.
    #[inline(always)]
    pub(crate) fn probed(place: Object) -> Option<Self> {
        Self::at(match offset!(probed_mm) {
            ITSELF => place,
            offset => read(place, offset)?,
        })
    }
}

impl File {
    /// The key that identifies the file. This is not an `Option`, because the verifier does not see
    /// that the key is used only if there is one.
    #[inline(always)]
    pub(crate) fn key(self) -> FileKey {
        self.inode().map_or(FileKey::NONE, Inode::key)
    }

    /// The number of the character device, if it is one. A block device may have the same number.
    #[inline(always)]
    pub(crate) fn device(self) -> Option<u32> {
        let inode = self.inode()?;
        // This ends the check of almost every file before the second read.
        let number = inode.device_number().filter(|number| *number != 0)?;
        is_character_device(inode.mode()?).then_some(number)
    }

    /// Whether it is `/dev/mem`.
    #[inline(always)]
    pub(crate) fn is_dev_mem(self) -> bool {
        self.device() == Some(DEV_MEM)
    }
}

/// Whether an inode with this mode is a character device.
#[inline(always)]
pub(crate) fn is_character_device(mode: u16) -> bool {
    mode & S_IFMT == S_IFCHR
}

/// The key of a file, if there is one.
#[inline(always)]
pub(crate) fn key_of(file: Option<File>) -> FileKey {
    file.map_or(FileKey::NONE, File::key)
}

impl Inode {
    /// The `struct proc_inode` that contains an inode of a procfs (`PROC_I()`, fs/proc/internal.h).
    #[inline(always)]
    pub(crate) fn proc_inode(self) -> Option<ProcInode> {
        self.0.around(offset!(proc_inode))
    }

    #[inline(always)]
    fn key(self) -> FileKey {
        let device = self.superblock().and_then(SuperBlock::device).unwrap_or_default();
        FileKey { device: device.into(), inode: self.number().unwrap_or_default() }
    }
}

impl Dentry {
    /// The file with this name; [`FileKey::NONE`] for a name without a file.
    #[inline(always)]
    pub(crate) fn key(self) -> FileKey {
        self.inode().map_or(FileKey::NONE, Inode::key)
    }

    /// The beginning of the name. Other bytes follow a short name: a name has space of at least 32
    /// bytes (`d_iname`, `struct external_name`, fs/dcache.c).
    #[inline(always)]
    pub(crate) fn name_starts<const N: usize>(self) -> Option<[u8; N]> {
        read(self.name()?, 0)
    }
}

impl VfsMount {
    /// The `struct mount` that contains it (`real_mount()`, fs/mount.h).
    #[inline(always)]
    pub(crate) fn mount(self) -> Option<Mount> {
        self.0.around(offset!(mount_vfsmount))
    }
}

impl BpfProgram {
    /// Its address, because the verifier allows no arithmetic with the pointer itself.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0.object() as u64
    }
}

impl BpfAux {
    /// Whether the program may change the registers of a process. A kernel without the field has no
    /// such programs.
    #[inline(always)]
    pub(crate) fn writes_registers(self) -> bool {
        let offset = offset!(aux_writes_registers);
        offset != MISSING && self.0.read::<u8>(offset).unwrap_or(1) != 0
    }
}

impl Pid {
    /// The task with this number.
    #[inline(always)]
    pub(crate) fn task(self) -> Option<Task> {
        self.first_link()?.around(offset!(task_pid_links))
    }
}
