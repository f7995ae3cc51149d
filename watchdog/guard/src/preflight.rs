//! What must be there before the guard can be loaded, each lack with its remedy.

use std::fs;
use std::io;

use watchdog_common::{ITSELF, Offsets};

use watchdog_core::btf::{ANY_SIZE, Btf, BtfError};

const LSM_LIST: &str = "/sys/kernel/security/lsm";
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Not root.
    #[error(
        "the guard needs root (CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON and CAP_SYS_RAWIO): run it \
         with sudo"
    )]
    Privilege,
    /// No type information.
    #[error(
        "{BTF} cannot be read ({0}): the guard needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, \
         as distribution kernels are"
    )]
    NoBtf(io::Error),
    /// The LSM list is not there.
    #[error(
        "{LSM_LIST} cannot be read ({0}), so it is unknown whether `bpf` is an active LSM: mount \
         securityfs (mount -t securityfs securityfs /sys/kernel/security)"
    )]
    NoSecurityfs(io::Error),
    /// BPF is no active LSM: programs would attach and never fire.
    #[error(
        "`bpf` is not among the active LSMs ({active}), so eBPF cannot deny anything: add \
         lsm={active},bpf to the kernel command line and reboot"
    )]
    NoBpfLsm {
        /// The active ones.
        active: String,
    },
    /// The kernel is another than this program knows.
    #[error("the guard does not fit this kernel: {0}")]
    Kernel(#[from] BtfError),
}

/// What the running kernel says of itself.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) btf: Btf,
    /// Where the programs read.
    pub(super) offsets: Offsets,
    /// Why no LSM program would ever fire, where that is so and tolerated.
    pub(super) no_lsm: Option<String>,
}

/// Checks everything and resolves the offsets the programs read at. Whether the guard goes on
/// where `bpf` is no active LSM is the caller's to say.
pub(super) fn check(without_lsm: bool) -> Result<Running, PreflightError> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Err(PreflightError::Privilege);
    }
    let active = fs::read_to_string(LSM_LIST).map_err(PreflightError::NoSecurityfs)?;
    let no_lsm = match check_lsm(active.trim()) {
        Err(error) if without_lsm => Some(error.to_string()),
        checked => checked.map(|()| None)?,
    };
    let btf = Btf::parse(fs::read(BTF).map_err(PreflightError::NoBtf)?)?;
    log::debug!("active LSMs: {}", active.trim());
    let offsets = offsets(&btf).inspect_err(|error| log::debug!("{error}"))?;
    log::debug!("fields of this kernel's structures: {offsets:?}");
    Ok(Running { btf, offsets, no_lsm })
}

fn check_lsm(active: &str) -> Result<(), PreflightError> {
    if active.split(',').any(|name| name == "bpf") {
        return Ok(());
    }
    Err(PreflightError::NoBpfLsm { active: active.to_owned() })
}

/// The fields the programs read.
fn offsets(btf: &Btf) -> Result<Offsets, BtfError> {
    let pointer = |name: &str, field: &str| btf.offset(name, field, 8);
    Ok(Offsets {
        file_inode: pointer("file", "f_inode")?,
        file_mode: btf.offset("file", "f_mode", 4)?,
        file_dentry: pointer("file", "f_path.dentry")?,
        inode_rdev: btf.offset("inode", "i_rdev", 4)?,
        inode_mode: btf.offset("inode", "i_mode", 2)?,
        vma_start: btf.offset("vm_area_struct", "vm_start", 8)?,
        vma_end: btf.offset("vm_area_struct", "vm_end", 8)?,
        vma_flags: btf.offset("vm_area_struct", "vm_flags", 8)?,
        vma_pgoff: btf.offset("vm_area_struct", "vm_pgoff", 8)?,
        vma_file: pointer("vm_area_struct", "vm_file")?,
        vma_mm: pointer("vm_area_struct", "vm_mm")?,
        fault_vma: pointer("vm_fault", "vma")?,
        resource_start: btf.offset("resource", "start", 8)?,
        resource_end: btf.offset("resource", "end", 8)?,
        task_pid: btf.offset("task_struct", "pid", 4)?,
        task_tgid: btf.offset("task_struct", "tgid", 4)?,
        task_comm: btf.offset("task_struct", "comm", 16)?,
        task_parent: pointer("task_struct", "real_parent")?,
        task_cred: pointer("task_struct", "real_cred")?,
        cred_uid: btf.offset("cred", "uid", 4)?,
        task_mm: pointer("task_struct", "mm")?,
        mm_exe_file: pointer("mm_struct", "exe_file")?,
        mm_pgd: pointer("mm_struct", "pgd")?,
        dentry_parent: pointer("dentry", "d_parent")?,
        dentry_name: pointer("dentry", "d_name.name")?,
        dentry_inode: pointer("dentry", "d_inode")?,
        path_dentry: pointer("path", "dentry")?,
        inode_superblock: pointer("inode", "i_sb")?,
        inode_number: btf.offset("inode", "i_ino", 8)?,
        superblock_device: btf.offset("super_block", "s_dev", 4)?,
        vfsmount_root: pointer("vfsmount", "mnt_root")?,
        mount_vfsmount: btf.offset("mount", "mnt", 32)?,
        mount_namespace: pointer("mount", "mnt_ns")?,
        mount_parent: pointer("mount", "mnt_parent")?,
        mount_group: btf.offset("mount", "mnt_group_id", 4)?,
        namespace_number: btf.offset("mnt_namespace", "ns.inum", 4)?,
        map_id: btf.offset("bpf_map", "id", 4)?,
        program_aux: pointer("bpf_prog", "aux")?,
        aux_id: btf.offset("bpf_prog_aux", "id", 4)?,
        task_ptrace: btf.offset("task_struct", "ptrace", 4)?,
        task_seccomp: btf.offset("task_struct", "seccomp.mode", 4)?,
        binprm_file: pointer("linux_binprm", "file")?,
        mm_context_id: btf.offset("mm_struct", "context.ctx_id", 8)?,
        task_switches: btf.offset("task_struct", "nvcsw", 8)?,
        task_preemptions: btf.offset("task_struct", "nivcsw", 8)?,
        // `KEXEC_SEGMENT_MAX` of 32 bytes each.
        kimage_segment: btf.offset("kimage", "segment", 16 * 32).unwrap_or_default(),
        path_mount: pointer("path", "mnt")?,
        socket_file: pointer("socket", "file")?,
        attributes_valid: btf.offset("iattr", "ia_valid", 4)?,
        event_target: pointer("perf_event", "hw.target")?,
        probed_mm: match btf.points_to("set_swbp", 1) {
            Some(b"vm_area_struct") => pointer("vm_area_struct", "vm_mm")?,
            _ => ITSELF,
        },
        socket_sock: pointer("socket", "sk")?,
        sock_filter: pointer("sock", "sk_filter")?,
        sock_user_data: pointer("sock", "sk_user_data")?,
        superblock_magic: btf.offset("super_block", "s_magic", 8)?,
        program_type: btf.offset("bpf_prog", "type", 4)?,
        program_attach_type: btf.offset("bpf_prog", "expected_attach_type", 4)?,
        program_length: btf.offset("bpf_prog", "len", 4)?,
        program_instructions: btf.offset("bpf_prog", "insnsi", ANY_SIZE)?,
        aux_attach_id: btf.offset("bpf_prog_aux", "attach_btf_id", 4)?,
        aux_writes_registers: btf.offset("bpf_prog_aux", "kprobe_write_ctx", 1).unwrap_or_default(),
        proc_pid: pointer("proc_inode", "pid")?,
        proc_inode: btf.offset("proc_inode", "vfs_inode", ANY_SIZE)?,
        // `PIDTYPE_MAX` of 8 and of 16 bytes each.
        pid_tasks: btf.offset("pid", "tasks", 4 * 8)?,
        task_pid_links: btf.offset("task_struct", "pid_links", 4 * 16)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the remedy for a missing LSM is the whole line to type.
    #[test]
    fn lsm() {
        assert!(check_lsm("lockdown,capability,bpf").is_ok());
        let error = check_lsm("lockdown,capability,bpfilter").unwrap_err().to_string();
        assert!(error.contains("lsm=lockdown,capability,bpfilter,bpf "), "{error}");
    }
}
