//! Where the fields of kernel structures are.

/// Byte offsets of kernel structure fields, resolved from BTF when the programs are loaded:
/// Rust has no CO-RE, and `struct file` alone differs between 6.1, 6.12 and 7.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Offsets {
    /// `struct file`, `f_inode`.
    pub file_inode: u32,
    /// `struct file`, `f_mode`.
    pub file_mode: u32,
    /// `struct file`, `f_path.dentry`.
    pub file_dentry: u32,
    /// `struct inode`, `i_rdev`.
    pub inode_rdev: u32,
    /// `struct inode`, `i_mode`.
    pub inode_mode: u32,
    /// `struct vm_area_struct`, `vm_start`.
    pub vma_start: u32,
    /// `struct vm_area_struct`, `vm_end`.
    pub vma_end: u32,
    /// `struct vm_area_struct`, `vm_flags`.
    pub vma_flags: u32,
    /// `struct vm_area_struct`, `vm_pgoff`.
    pub vma_pgoff: u32,
    /// `struct vm_area_struct`, `vm_file`.
    pub vma_file: u32,
    /// `struct vm_area_struct`, `vm_mm`.
    pub vma_mm: u32,
    /// `struct vm_fault`, `vma`.
    pub fault_vma: u32,
    /// `struct resource`, `start`.
    pub resource_start: u32,
    /// `struct resource`, `end`: the last byte.
    pub resource_end: u32,
    /// `struct task_struct`, `pid`: the thread.
    pub task_pid: u32,
    /// `struct task_struct`, `tgid`: the process.
    pub task_tgid: u32,
    /// `struct task_struct`, `comm`.
    pub task_comm: u32,
    /// `struct task_struct`, `real_parent`.
    pub task_parent: u32,
    /// `struct task_struct`, `real_cred`.
    pub task_cred: u32,
    /// `struct cred`, `uid`.
    pub cred_uid: u32,
    /// `struct task_struct`, `mm`.
    pub task_mm: u32,
    /// `struct mm_struct`, `exe_file`.
    pub mm_exe_file: u32,
    /// `struct mm_struct`, `pgd`: its topmost page table, by its place in the direct map.
    pub mm_pgd: u32,
    /// `struct dentry`, `d_parent`.
    pub dentry_parent: u32,
    /// `struct dentry`, `d_name.name`.
    pub dentry_name: u32,
    /// `struct dentry`, `d_inode`.
    pub dentry_inode: u32,
    /// `struct path`, `dentry`.
    pub path_dentry: u32,
    /// `struct inode`, `i_sb`.
    pub inode_superblock: u32,
    /// `struct inode`, `i_ino`.
    pub inode_number: u32,
    /// `struct super_block`, `s_dev`.
    pub superblock_device: u32,
    /// `struct vfsmount`, `mnt_root`.
    pub vfsmount_root: u32,
    /// `struct mount`, `mnt`: where its `struct vfsmount` is in it.
    pub mount_vfsmount: u32,
    /// `struct mount`, `mnt_ns`.
    pub mount_namespace: u32,
    /// `struct mount`, `mnt_parent`.
    pub mount_parent: u32,
    /// `struct mount`, `mnt_group_id`: not 0 where it is shared with others.
    pub mount_group: u32,
    /// `struct mnt_namespace`, `ns.inum`.
    pub namespace_number: u32,
    /// `struct bpf_map`, `id`.
    pub map_id: u32,
    /// `struct bpf_prog`, `aux`.
    pub program_aux: u32,
    /// `struct bpf_prog_aux`, `id`.
    pub aux_id: u32,
    /// `struct task_struct`, `ptrace`.
    pub task_ptrace: u32,
    /// `struct task_struct`, `seccomp.mode`.
    pub task_seccomp: u32,
    /// `struct linux_binprm`, `file`.
    pub binprm_file: u32,
    /// `struct mm_struct`, `context.ctx_id`.
    pub mm_context_id: u32,
    /// `struct task_struct`, `nvcsw`: how often it gave its processor up.
    pub task_switches: u32,
    /// `struct task_struct`, `nivcsw`: how often it was taken from it.
    pub task_preemptions: u32,
    /// `struct kimage`, `segment`; 0 for a kernel without kexec.
    pub kimage_segment: u32,
    /// `struct path`, `mnt`.
    pub path_mount: u32,
    /// `struct super_block`, `s_magic`.
    pub superblock_magic: u32,
    /// `struct bpf_prog`, `type`.
    pub program_type: u32,
    /// `struct bpf_prog`, `expected_attach_type`.
    pub program_attach_type: u32,
    /// `struct bpf_prog`, `len`: instructions.
    pub program_length: u32,
    /// `struct bpf_prog`, `insnsi`: the first of them.
    pub program_instructions: u32,
    /// `struct bpf_prog_aux`, `attach_btf_id`.
    pub aux_attach_id: u32,
    /// `struct bpf_prog_aux`, `kprobe_write_ctx`; 0 for a kernel without it.
    pub aux_writes_registers: u32,
    /// `struct proc_inode`, `pid`.
    pub proc_pid: u32,
    /// `struct proc_inode`, `vfs_inode`: where its `struct inode` is in it.
    pub proc_inode: u32,
    /// `struct pid`, `tasks`: the task of this number is first.
    pub pid_tasks: u32,
    /// `struct task_struct`, `pid_links`: where it is in such a list.
    pub task_pid_links: u32,
    /// `struct socket`, `file`.
    pub socket_file: u32,
    /// `struct iattr`, `ia_valid`.
    pub attributes_valid: u32,
    /// `struct perf_event`, `hw.target`.
    pub event_target: u32,
    /// `struct vm_area_struct`, `vm_mm`, or [`ITSELF`](crate::ITSELF) where breakpoints are set in
    /// a `struct mm_struct`.
    pub probed_mm: u32,
    /// `struct socket`, `sk`.
    pub socket_sock: u32,
    /// `struct sock`, `sk_filter`.
    pub sock_filter: u32,
    /// `struct sock`, `sk_user_data`: of a Unix socket, what a BPF map of sockets keeps with it.
    pub sock_user_data: u32,
}
