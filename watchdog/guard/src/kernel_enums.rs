//! The kernel's names for what it asks security modules about, and the path of each.
//!
//! Their values are looked up in BTF, because kernels insert new values between others: for example
//! into `enum lockdown_reason` (include/linux/security.h).

use std::collections::BTreeMap;

use watchdog_common::{ENUM_VALUES, Rules, SCHEDULERS, bpf_use};

use super::WritePath;
use watchdog_core::btf::{Btf, BtfError};

/// Reasons for which the kernel calls `security_locked_down()`. The table leaves out reasons about
/// reading, and debugfs, which is used for much more than writes to memory. It also leaves out
/// reasons that other hooks cover: `/dev/mem`, module signatures and kexec.
const LOCKDOWN: [(&str, WritePath); 15] = [
    ("LOCKDOWN_BPF_WRITE_USER", WritePath::Bpf),
    ("LOCKDOWN_PCI_ACCESS", WritePath::Pci),
    ("LOCKDOWN_MODULE_PARAMETERS", WritePath::Parameters),
    ("LOCKDOWN_HIBERNATION", WritePath::Kexec),
    ("LOCKDOWN_EFI_TEST", WritePath::Lockdown),
    ("LOCKDOWN_IOPORT", WritePath::Lockdown),
    ("LOCKDOWN_MSR", WritePath::Lockdown),
    ("LOCKDOWN_ACPI_TABLES", WritePath::Lockdown),
    ("LOCKDOWN_DEVICE_TREE", WritePath::Lockdown),
    ("LOCKDOWN_PCMCIA_CIS", WritePath::Lockdown),
    ("LOCKDOWN_TIOCSSERIAL", WritePath::Lockdown),
    ("LOCKDOWN_MMIOTRACE", WritePath::Lockdown),
    ("LOCKDOWN_XMON_WR", WritePath::Lockdown),
    ("LOCKDOWN_XMON_RW", WritePath::Lockdown),
    ("LOCKDOWN_DBG_WRITE_KERNEL", WritePath::Lockdown),
];
/// Files that the kernel reads for itself, by purpose.
const READ_FILE: [(&str, WritePath); 4] = [
    ("READING_MODULE", WritePath::Module),
    ("READING_MODULE_COMPRESSED", WritePath::Module),
    ("READING_KEXEC_IMAGE", WritePath::Kexec),
    ("READING_KEXEC_INITRAMFS", WritePath::Kexec),
];
/// Data that the kernel loads from a process's memory, by purpose.
const LOAD_DATA: [(&str, WritePath); 2] =
    [("LOADING_MODULE", WritePath::Module), ("LOADING_KEXEC_IMAGE", WritePath::Kexec)];

/// Types of BPF programs, each with the reason why the guard refuses it.
const PROGRAM_TYPES: [(&str, u32); 9] = [
    ("BPF_PROG_TYPE_LSM", bpf_use::LSM),
    ("BPF_PROG_TYPE_EXT", bpf_use::EXTENSION),
    ("BPF_PROG_TYPE_CGROUP_SYSCTL", bpf_use::SETTINGS),
    ("BPF_PROG_TYPE_KPROBE", bpf_use::TRACING),
    ("BPF_PROG_TYPE_TRACEPOINT", bpf_use::TRACING),
    ("BPF_PROG_TYPE_PERF_EVENT", bpf_use::TRACING),
    ("BPF_PROG_TYPE_RAW_TRACEPOINT", bpf_use::TRACING),
    ("BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", bpf_use::TRACING),
    ("BPF_PROG_TYPE_TRACING", bpf_use::TRACING),
];
/// Attach types of BPF programs, each with the reason why the guard refuses it.
const ATTACH_TYPES: [(&str, u32); 9] = [
    ("BPF_MODIFY_RETURN", bpf_use::MODIFY_RETURN),
    ("BPF_LSM_MAC", bpf_use::LSM),
    ("BPF_LSM_CGROUP", bpf_use::LSM),
    ("BPF_CGROUP_SYSCTL", bpf_use::SETTINGS),
    ("BPF_CGROUP_UNIX_CONNECT", bpf_use::SOCKETS),
    ("BPF_CGROUP_UNIX_SENDMSG", bpf_use::SOCKETS),
    ("BPF_CGROUP_UNIX_RECVMSG", bpf_use::SOCKETS),
    ("BPF_CGROUP_UNIX_GETPEERNAME", bpf_use::SOCKETS),
    ("BPF_CGROUP_UNIX_GETSOCKNAME", bpf_use::SOCKETS),
];

/// Names that some kernels lack.
const OPTIONAL: [&str; 9] = [
    "READING_MODULE_COMPRESSED",
    "LOCKDOWN_XMON_WR",
    "LOCKDOWN_DBG_WRITE_KERNEL",
    "BPF_LSM_CGROUP",
    "BPF_CGROUP_UNIX_CONNECT",
    "BPF_CGROUP_UNIX_SENDMSG",
    "BPF_CGROUP_UNIX_RECVMSG",
    "BPF_CGROUP_UNIX_GETPEERNAME",
    "BPF_CGROUP_UNIX_GETSOCKNAME",
];
/// The structures of operations by which a BPF program schedules processes.
const SCHEDULERS_OF: [&str; 2] = ["sched_ext_ops", "sched_ext_ops_cid"];

/// The numbers that the rules take from a kernel's enumerations. Each table has one entry per value
/// of an enumeration. It is 0 if the guard ignores that value.
#[derive(Clone, Debug)]
pub(super) struct KernelEnums {
    /// `enum lockdown_reason`: the path's number.
    pub(super) lockdown: [u8; ENUM_VALUES],
    /// `enum kernel_read_file_id`: the path's number.
    pub(super) read_file: [u8; ENUM_VALUES],
    /// `enum kernel_load_data_id`: the path's number.
    pub(super) load_data: [u8; ENUM_VALUES],
    /// `enum bpf_prog_type`: one of [`bpf_use`].
    pub(super) program_types: [u8; ENUM_VALUES],
    /// `enum bpf_attach_type`: one of [`bpf_use`].
    pub(super) attach_types: [u8; ENUM_VALUES],
    /// The type numbers of [`SCHEDULERS_OF`]; 0 for one that the kernel does not have.
    pub(super) schedulers: [u32; SCHEDULERS],
}

impl KernelEnums {
    /// Looks up every name in the kernel's types.
    ///
    /// # Errors
    /// [`BtfError::Enumerator`] when the kernel lacks a name that is not [`OPTIONAL`].
    pub(super) fn resolve(btf: &Btf) -> Result<Self, BtfError> {
        let paths = |enumerators: &[(&'static str, WritePath)]| -> Vec<_> {
            enumerators.iter().map(|(enumerator, path)| (*enumerator, path.number())).collect()
        };
        let mut schedulers = [Rules::NO_TYPE; SCHEDULERS];
        for (slot, name) in schedulers.iter_mut().zip(SCHEDULERS_OF) {
            *slot = btf.structure(name).unwrap_or(Rules::NO_TYPE);
        }
        Ok(Self {
            lockdown: table(btf, "lockdown_reason", &paths(&LOCKDOWN))?,
            read_file: table(btf, "kernel_read_file_id", &paths(&READ_FILE))?,
            load_data: table(btf, "kernel_load_data_id", &paths(&LOAD_DATA))?,
            program_types: table(btf, "bpf_prog_type", &PROGRAM_TYPES)?,
            attach_types: table(btf, "bpf_attach_type", &ATTACH_TYPES)?,
            schedulers,
        })
    }
}

fn table(
    btf: &Btf,
    name: &'static str,
    enumerators: &[(&'static str, u32)],
) -> Result<[u8; ENUM_VALUES], BtfError> {
    let mut table = [0; ENUM_VALUES];
    for (enumerator, number) in enumerators {
        let value = match btf.enumerator(name, enumerator) {
            Err(_) if OPTIONAL.contains(enumerator) => continue,
            value => value?,
        };
        let slot = usize::try_from(value).ok().and_then(|value| table.get_mut(value));
        let slot = slot.ok_or(BtfError::Enumerator(name, enumerator))?;
        // All these numbers fit into a byte.
        *slot = u8::try_from(*number).unwrap_or_default();
    }
    Ok(table)
}

/// The names of lockdown reasons by their values, for a sentence: `LOCKDOWN_MSR` is `msr`.
pub(super) fn reasons(btf: &Btf) -> BTreeMap<u32, String> {
    let named = |(name, _): &(&'static str, WritePath)| {
        let value = u32::try_from(btf.enumerator("lockdown_reason", name).ok()?).ok()?;
        Some((value, name.trim_start_matches("LOCKDOWN_").replace('_', "-").to_lowercase()))
    };
    LOCKDOWN.iter().filter_map(named).collect()
}
