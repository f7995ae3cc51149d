//! Reading kernel memory: at the offsets that BTF gave, and nowhere unchecked.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use watchdog_common::Offsets;

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    file_inode: 0,
    file_mode: 0,
    file_dentry: 0,
    inode_rdev: 0,
    inode_mode: 0,
    vma_start: 0,
    vma_end: 0,
    vma_flags: 0,
    vma_pgoff: 0,
    vma_file: 0,
    vma_mm: 0,
    fault_vma: 0,
    resource_start: 0,
    resource_end: 0,
    task_pid: 0,
    task_tgid: 0,
    task_comm: 0,
    task_parent: 0,
    task_cred: 0,
    cred_uid: 0,
    task_mm: 0,
    mm_exe_file: 0,
    mm_pgd: 0,
    dentry_parent: 0,
    dentry_name: 0,
    dentry_inode: 0,
    path_dentry: 0,
    inode_superblock: 0,
    inode_number: 0,
    superblock_device: 0,
    vfsmount_root: 0,
    mount_vfsmount: 0,
    mount_namespace: 0,
    mount_parent: 0,
    mount_group: 0,
    namespace_number: 0,
    map_id: 0,
    program_aux: 0,
    aux_id: 0,
    task_ptrace: 0,
    task_seccomp: 0,
    binprm_file: 0,
    mm_context_id: 0,
    task_switches: 0,
    task_preemptions: 0,
    kimage_segment: 0,
    path_mount: 0,
    superblock_magic: 0,
    program_type: 0,
    program_attach_type: 0,
    program_length: 0,
    program_instructions: 0,
    aux_attach_id: 0,
    aux_writes_registers: 0,
    proc_pid: 0,
    proc_inode: 0,
    pid_tasks: 0,
    task_pid_links: 0,
    socket_file: 0,
    attributes_valid: 0,
    event_target: 0,
    probed_mm: 0,
    socket_sock: 0,
    sock_filter: 0,
    sock_user_data: 0,
};

/// A pointer to something in the kernel, or null.
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

/// Reads `offset` bytes behind an address; `None` for null, and where the kernel cannot read.
#[inline(always)]
pub(crate) fn read<T>(object: Object, offset: u32) -> Option<T> {
    if object.is_null() {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(object.byte_add(offset as usize).cast::<T>()) }.ok()
}
