//! Offsets of fields in kernel structures.
//!
//! Rust has no CO-RE, and `struct file` alone differs between 6.1, 6.12 and 7.2. The loader
//! therefore resolves the fields from BTF.

/// The offset of a pointer that leads to the object itself.
pub const ITSELF: u32 = u32::MAX;
/// The offset of an optional field that the kernel does not have. No optional field is the first of
/// its structure.
pub const MISSING: u32 = 0;

/// A field of a kernel structure that programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its structure.
    pub structure: &'static str,
    /// Its name. Names of nested fields are joined by dots.
    pub member: &'static str,
    /// Its size in bytes; `None` if programs do not read it in one access.
    pub size: Option<u64>,
    /// The kernels that have it.
    pub presence: Presence,
}

/// The kernels that have a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Every kernel that the guard loads on.
    Required,
    /// Some kernels. On others the offset is [`MISSING`].
    Optional,
    /// Programs reach it through a function's parameter of this index, which points to the
    /// structure on some kernels. On the others the parameter is the value of the field, and the
    /// offset is [`ITSELF`].
    Through(&'static str, usize),
}

/// Makes [`Offsets`] and the table of its fields from rows `name: structure.member [bytes],`. The
/// size is `any` for a field that is not read in one access. If not all kernels have the field, a
/// note in parentheses follows: `(optional)` or `(through FUNCTION PARAMETER)`.
macro_rules! offsets {
    ($(
        $(#[$doc:meta])*
        $name:ident: $structure:ident.$member:ident$(.$nested:ident)* [$($size:tt)+]
            $(($($note:tt)+))?,
    )+) => {
        /// Byte offsets of kernel structure fields, resolved from BTF when the programs are loaded.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct Offsets {
            $(
                #[doc = concat!(
                    "`struct ", stringify!($structure), "`, `",
                    stringify!($member) $(, ".", stringify!($nested))*, "`."
                )]
                $(#[$doc])*
                pub $name: u32,
            )+
        }

        impl Offsets {
            /// The values before the loader fills them in.
            pub const ZERO: Self = Self { $($name: 0),+ };

            /// Looks up every field.
            ///
            /// # Errors
            /// The first error of `offset_of`.
            pub fn resolve<E>(
                mut offset_of: impl FnMut(&Field) -> Result<u32, E>,
            ) -> Result<Self, E> {
                Ok(Self {
                    $($name: offset_of(&Field {
                        structure: stringify!($structure),
                        member: concat!(stringify!($member) $(, ".", stringify!($nested))*),
                        size: offsets!(@size $($size)+),
                        presence: offsets!(@presence $($($note)+)?),
                    })?,)+
                })
            }
        }

        const _: () = assert!(size_of::<Offsets>() == [$(stringify!($name)),+].len() * 4);
    };
    (@size any) => { None };
    (@size $size:expr) => { Some($size) };
    (@presence) => { Presence::Required };
    (@presence optional) => { Presence::Optional };
    (@presence through $function:ident $parameter:literal) => {
        Presence::Through(stringify!($function), $parameter)
    };
}

offsets! {
    file_inode: file.f_inode [8],
    file_mode: file.f_mode [4],
    file_dentry: file.f_path.dentry [8],
    inode_rdev: inode.i_rdev [4],
    inode_mode: inode.i_mode [2],
    vma_start: vm_area_struct.vm_start [8],
    vma_end: vm_area_struct.vm_end [8],
    vma_flags: vm_area_struct.vm_flags [8],
    vma_pgoff: vm_area_struct.vm_pgoff [8],
    vma_file: vm_area_struct.vm_file [8],
    vma_mm: vm_area_struct.vm_mm [8],
    fault_vma: vm_fault.vma [8],
    resource_start: resource.start [8],
    /// The last byte.
    resource_end: resource.end [8],
    /// The thread.
    task_pid: task_struct.pid [4],
    /// The process.
    task_tgid: task_struct.tgid [4],
    task_comm: task_struct.comm [16],
    task_parent: task_struct.real_parent [8],
    task_cred: task_struct.real_cred [8],
    cred_uid: cred.uid [4],
    task_mm: task_struct.mm [8],
    mm_exe_file: mm_struct.exe_file [8],
    /// Its topmost page table, at its address in the direct map.
    mm_pgd: mm_struct.pgd [8],
    dentry_parent: dentry.d_parent [8],
    dentry_name: dentry.d_name.name [8],
    dentry_inode: dentry.d_inode [8],
    path_dentry: path.dentry [8],
    inode_superblock: inode.i_sb [8],
    inode_number: inode.i_ino [8],
    superblock_device: super_block.s_dev [4],
    vfsmount_root: vfsmount.mnt_root [8],
    /// Its `struct vfsmount`.
    mount_vfsmount: mount.mnt [32],
    mount_namespace: mount.mnt_ns [8],
    mount_parent: mount.mnt_parent [8],
    /// Not 0 if the mount is shared.
    mount_group: mount.mnt_group_id [4],
    namespace_number: mnt_namespace.ns.inum [4],
    map_id: bpf_map.id [4],
    program_aux: bpf_prog.aux [8],
    aux_id: bpf_prog_aux.id [4],
    task_ptrace: task_struct.ptrace [4],
    task_seccomp: task_struct.seccomp.mode [4],
    binprm_file: linux_binprm.file [8],
    mm_context_id: mm_struct.context.ctx_id [8],
    /// How often the task gave up its processor.
    task_switches: task_struct.nvcsw [8],
    /// How often the kernel took the processor from the task.
    task_preemptions: task_struct.nivcsw [8],
    /// `KEXEC_SEGMENT_MAX` of 32 bytes each. 0 for a kernel without kexec.
    kimage_segment: kimage.segment [16 * 32] (optional),
    path_mount: path.mnt [8],
    superblock_magic: super_block.s_magic [8],
    program_type: bpf_prog.type [4],
    program_attach_type: bpf_prog.expected_attach_type [4],
    /// In instructions.
    program_length: bpf_prog.len [4],
    /// The first of them.
    program_instructions: bpf_prog.insnsi [any],
    aux_attach_id: bpf_prog_aux.attach_btf_id [4],
    /// Since 6.18.
    aux_writes_registers: bpf_prog_aux.kprobe_write_ctx [1] (optional),
    proc_pid: proc_inode.pid [8],
    /// Its `struct inode`.
    proc_inode: proc_inode.vfs_inode [any],
    /// `PIDTYPE_MAX` of 8 bytes each. The task with this number is first.
    pid_tasks: pid.tasks [4 * 8],
    /// `PIDTYPE_MAX` of 16 bytes each: its links in the lists of `tasks`.
    task_pid_links: task_struct.pid_links [4 * 16],
    socket_file: socket.file [8],
    attributes_valid: iattr.ia_valid [4],
    event_target: perf_event.hw.target [8],
    /// [`ITSELF`] where breakpoints are set in a `struct mm_struct`.
    probed_mm: vm_area_struct.vm_mm [8] (through set_swbp 1),
    socket_sock: socket.sk [8],
    sock_filter: sock.sk_filter [8],
    /// For a Unix socket, the data of a BPF map of sockets.
    sock_user_data: sock.sk_user_data [8],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that every offset is resolved from its row, that a nested field has its dots, and that
    /// the first error is returned.
    #[test]
    fn rows() {
        let mut number = 0;
        let offsets = Offsets::resolve(|field| {
            number += 1;
            let (size, presence) = (field.size, field.presence);
            match (field.structure, field.member) {
                ("file", "f_path.dentry") => assert_eq!(size, Some(8)),
                ("kimage", "segment") => {
                    assert_eq!((size, presence), (Some(512), Presence::Optional));
                    return Ok(7);
                }
                ("bpf_prog", "insnsi") => assert_eq!((size, presence), (None, Presence::Required)),
                ("vm_area_struct", "vm_mm") if presence != Presence::Required => {
                    assert_eq!(presence, Presence::Through("set_swbp", 1));
                    return Ok(ITSELF);
                }
                _ => {}
            }
            Ok::<_, ()>(number)
        });
        let offsets = offsets.expect("every field has an offset");
        assert_eq!((offsets.file_inode, offsets.file_mode, offsets.file_dentry), (1, 2, 3));
        assert_eq!((offsets.kimage_segment, offsets.probed_mm), (7, ITSELF));
        assert_eq!(offsets.sock_user_data as usize * 4, size_of::<Offsets>());
        assert_eq!(Offsets::resolve(|field| Err::<u32, _>(field.member)), Err("f_inode"));
    }
}
