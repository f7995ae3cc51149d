//! The programs: what each is for, and what of the kernel it attaches to.

use std::collections::BTreeMap;

use super::{Policies, Policy, WritePath};
use crate::btf::Btf;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To an LSM hook, of the program's own name.
    Lsm,
    /// To a function's entry.
    Entry,
    /// To a function's exit.
    Exit,
    /// To settings, for every process.
    Sysctl,
}

/// A program of the eBPF object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    /// Its name in the object.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Functions with the number of parameters that are relied on: the first that the kernel has
    /// is taken, from the innermost out.
    pub(super) functions: &'static [(&'static str, usize)],
    /// Paths that cannot be judged without it.
    pub(super) paths: &'static [WritePath],
    /// Whether kernels may lack all of its functions, since other programs of its paths are enough.
    pub(super) optional: bool,
    /// Whether it is needed even when nothing is done about its paths.
    pub(super) always: bool,
}

const fn program(
    name: &'static str,
    kind: Kind,
    functions: &'static [(&'static str, usize)],
    paths: &'static [WritePath],
) -> Program {
    Program { name, kind, functions, paths, optional: false, always: false }
}

/// A program at an LSM hook that keeps what belongs to the guard.
const fn own(name: &'static str, hook: &'static [(&'static str, usize)]) -> Program {
    program(name, Kind::Lsm, hook, &[WritePath::Own])
}

impl Program {
    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// It also learns which files are the guard's own.
    const fn always(self) -> Self {
        Self { always: true, ..self }
    }

    /// Whether some policy needs it.
    pub(super) fn is_needed(&self, policies: &Policies) -> bool {
        self.always || self.paths.iter().any(|path| policies.get(*path) != Policy::Off)
    }

    /// The function of this kernel that it attaches to, or why there is none. Programs that need
    /// none have an empty name.
    pub(super) fn function(&self, btf: &Btf) -> Result<&'static str, String> {
        let mut refusals = Vec::new();
        for (function, parameters) in self.functions {
            match btf.check_function(function, *parameters) {
                Ok(()) => return Ok(function),
                Err(refusal) => refusals.push(refusal.to_string()),
            }
        }
        if self.functions.is_empty() { Ok("") } else { Err(refusals.join(", ")) }
    }
}

/// Paths that some policy is about and that this kernel has no place for, each with the reason.
pub(super) fn lacking(btf: &Btf, policies: &Policies) -> BTreeMap<WritePath, String> {
    let mut lacking = BTreeMap::new();
    for program in PROGRAMS.iter().filter(|it| !it.optional && it.is_needed(policies)) {
        if let Err(why) = program.function(btf) {
            lacking.extend(program.paths.iter().map(|path| (*path, why.clone())));
        }
    }
    lacking
}

/// All programs: what saves before what decides, so that nothing is denied for want of what was not
/// saved yet. LSM hooks are functions of the name `bpf_lsm_…` (kernel/bpf/bpf_lsm.c).
pub(super) const PROGRAMS: [Program; 39] = {
    use Kind::{Entry, Exit, Lsm, Sysctl};
    use WritePath as P;
    const RW: &[(&str, usize)] = &[("rw_verify_area", 4)];
    const MAPPING: &[(&str, usize)] = &[("vm_mmap_pgoff", 6)];
    const READ: &[(&str, usize)] = &[("read_mem", 4)];
    [
        program("write_position", Entry, RW, &[P::Write]),
        program("mapping", Entry, MAPPING, &[P::Mmap]),
        program("write_position_done", Exit, RW, &[P::Write]),
        program("mapping_done", Exit, MAPPING, &[P::Mmap]),
        program("reading", Entry, READ, &[P::Ioremap]),
        program("reading_done", Exit, READ, &[P::Ioremap]),
        program("file_open", Lsm, &[("bpf_lsm_file_open", 1)], &[P::Open, P::Pci, P::Own]).always(),
        program("file_permission", Lsm, &[("bpf_lsm_file_permission", 2)], &[P::Write]),
        program("mmap_file", Lsm, &[("bpf_lsm_mmap_file", 4)], &[P::Mmap, P::RemapFilePages]),
        program("file_mprotect", Lsm, &[("bpf_lsm_file_mprotect", 3)], &[P::Mprotect]),
        program(
            "locked_down",
            Lsm,
            &[("bpf_lsm_locked_down", 1)],
            &[P::Pci, P::Parameters, P::Kexec, P::Lockdown],
        ),
        program(
            "kernel_read_file",
            Lsm,
            &[("bpf_lsm_kernel_read_file", 3)],
            &[P::Module, P::Kexec],
        ),
        program(
            "kernel_load_data",
            Lsm,
            &[("bpf_lsm_kernel_load_data", 2)],
            &[P::Module, P::KexecSegments, P::Kexec],
        ),
        program(
            "frames",
            Entry,
            &[
                ("remap_pfn_range_internal", 5),
                ("remap_pfn_range_track", 5),
                ("remap_pfn_range_notrack", 5),
                ("remap_pfn_range", 5),
            ],
            &[P::Frames],
        ),
        program("fault_page", Entry, &[("insert_pfn", 5), ("vmf_insert_pfn_prot", 4)], &[P::Fault]),
        program(
            "fault_pmd",
            Entry,
            &[("vmf_insert_pfn_pmd", 3), ("vmf_insert_pfn_pmd_prot", 4)],
            &[P::Fault],
        )
        .optional(),
        program(
            "fault_pud",
            Entry,
            &[("vmf_insert_pfn_pud", 3), ("vmf_insert_pfn_pud_prot", 4)],
            &[P::Fault],
        )
        .optional(),
        program("ioremap", Entry, &[("__ioremap_caller", 5)], &[P::Ioremap]),
        program("add_memory", Entry, &[("add_memory_resource", 3)], &[P::Hotplug]),
        program("online_pages", Entry, &[("online_pages", 4)], &[P::Hotplug]),
        program("sysctl", Sysctl, &[], &[P::Ftrace]),
        own("bpf_map", &[("bpf_lsm_bpf_map", 2)]),
        own("bpf_prog", &[("bpf_lsm_bpf_prog", 1)]),
        own("inode_unlink", &[("bpf_lsm_inode_unlink", 2)]),
        own("inode_rename", &[("bpf_lsm_inode_rename", 4)]),
        own("inode_create", &[("bpf_lsm_inode_create", 3)]),
        own("inode_mkdir", &[("bpf_lsm_inode_mkdir", 3)]),
        own("inode_symlink", &[("bpf_lsm_inode_symlink", 3)]),
        own("inode_link", &[("bpf_lsm_inode_link", 3)]),
        own("path_mknod", &[("bpf_lsm_path_mknod", 4)]),
        own("path_truncate", &[("bpf_lsm_path_truncate", 1)]),
        own("sb_umount", &[("bpf_lsm_sb_umount", 2)]),
        own("task_kill", &[("bpf_lsm_task_kill", 4)]),
        own("file_send_sigiotask", &[("bpf_lsm_file_send_sigiotask", 3)]),
        own("ptrace_access_check", &[("bpf_lsm_ptrace_access_check", 2)]),
        own("bprm_check_security", &[("bpf_lsm_bprm_check_security", 1)]),
        own("task_setrlimit", &[("bpf_lsm_task_setrlimit", 3)]),
        own("task_setscheduler", &[("bpf_lsm_task_setscheduler", 1)]),
        own("bprm_committing_creds", &[("bpf_lsm_bprm_committing_creds", 1)]),
    ]
};
