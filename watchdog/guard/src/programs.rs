//! The programs: what each is for, and what of the kernel it attaches to.

use std::collections::BTreeMap;

use watchdog_common::PAGE_STRUCT;

use super::{Policies, Policy, WritePath, foreign, frames};
use watchdog_core::btf::Btf;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To an LSM hook.
    Lsm,
    /// To a function's entry.
    Entry,
    /// To a function's exit.
    Exit,
    /// To settings, for every process.
    Sysctl,
    /// To nothing: the kernel runs it for each of its objects of this kind when it is asked for a
    /// list.
    Listing(&'static str),
    /// To opens of devices, for every process: what is left where LSM programs never fire.
    Device,
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
    /// Whether it refuses what loading the others takes: it is attached when those are.
    pub(super) is_late: bool,
    /// Whether nobody looks behind it: what it does not see is let through.
    pub(super) is_last: bool,
    /// A function through which all that this program would see goes as well, where it exists; or
    /// another form of its own one, which another program is for.
    pub(super) within: Option<(&'static str, usize)>,
}

const fn program(
    name: &'static str,
    kind: Kind,
    functions: &'static [(&'static str, usize)],
    paths: &'static [WritePath],
) -> Program {
    Program {
        name,
        kind,
        functions,
        paths,
        optional: false,
        always: false,
        is_late: false,
        is_last: false,
        within: None,
    }
}

/// A program at an LSM hook that protects what belongs to the guard.
const fn protecting(name: &'static str, hook: &'static [(&'static str, usize)]) -> Program {
    program(name, Kind::Lsm, hook, &[WritePath::SelfProtection])
}

impl Program {
    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// It also registers which files are the guard's own.
    const fn always(self) -> Self {
        Self { always: true, ..self }
    }

    const fn late(self) -> Self {
        Self { is_late: true, ..self }
    }

    const fn last(self) -> Self {
        Self { is_last: true, ..self }
    }

    const fn within(self, function: &'static str, parameters: usize) -> Self {
        Self { within: Some((function, parameters)), ..self }
    }

    /// Whether it belongs on this kernel: what stands in for LSM programs only where those would
    /// not fire, and none whose all is seen by another.
    pub(super) fn fits(&self, btf: &Btf, has_lsm: bool) -> bool {
        let is_within = |(function, count)| btf.check_function(function, count).is_ok();
        match self.kind {
            Kind::Lsm => has_lsm && !self.within.is_some_and(is_within),
            Kind::Device => !has_lsm,
            _ => !self.within.is_some_and(is_within),
        }
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

/// What of path `pci` is denied all the same where there are no LSM programs.
const PORTS_ONLY: &str = " (the device program still covers /dev/port)";

/// Paths that some policy is about and that this kernel has no place for, each with the reason.
/// `no_lsm` is why LSM programs would never fire, where that is so.
pub(super) fn lacking(
    btf: &Btf,
    policies: &Policies,
    no_lsm: Option<&str>,
) -> BTreeMap<WritePath, String> {
    let mut lacking: BTreeMap<WritePath, String> = BTreeMap::new();
    for program in PROGRAMS.iter().filter(|it| it.is_needed(policies)) {
        let about = program.paths.iter().filter(|path| policies.get(**path) != Policy::Off);
        let why = match (program.kind, no_lsm) {
            (Kind::Lsm, Some(why)) => {
                let lost = about.filter(|path| is_lost(**path, policies));
                lacking.extend(lost.map(|path| (*path, why.to_owned())));
                continue;
            }
            _ if program.optional || !program.fits(btf, no_lsm.is_none()) => continue,
            _ => program.function(btf).err(),
        };
        if let Some(why) = why {
            lacking.extend(about.map(|path| (*path, why.clone())));
        }
    }
    if no_lsm.is_some() {
        // The program in their place stands for all of the one, and of the other for ports.
        lacking.remove(&WritePath::Open);
        lacking.entry(WritePath::Pci).and_modify(|why| *why += PORTS_ONLY);
    }
    if let Err(why) = btf.check_size("page", PAGE_STRUCT) {
        lacking.insert(WritePath::Dma, why.to_string());
    }
    for (path, why) in &lacking {
        log::debug!("path {path}: uncovered, this kernel has no hook for it: {why}");
    }
    lacking
}

/// Whether a path is lost with an LSM program: maps of an IOMMU are seen without any.
fn is_lost(path: WritePath, policies: &Policies) -> bool {
    path != WritePath::Iommu || policies.get(path) >= Policy::Deny
}

/// All programs: what saves before what decides, so that nothing is denied for want of what was not
/// saved yet. LSM hooks are functions of the name `bpf_lsm_…` (kernel/bpf/bpf_lsm.c).
pub(super) const PROGRAMS: [Program; 56] = {
    use Kind::{Device, Entry, Exit, Listing, Lsm, Sysctl};
    use WritePath as P;
    const RW: &[(&str, usize)] = &[("rw_verify_area", 4)];
    const READ: &[(&str, usize)] = &[("read_mem", 4)];
    [
        program("write_position", Entry, RW, &[P::Write]),
        program("reading", Entry, READ, &[P::Ioremap]),
        program("reading_done", Exit, READ, &[P::Ioremap]),
        program(
            "file_open",
            Lsm,
            &[("bpf_lsm_file_open", 1)],
            &[P::Open, P::Pci, P::Iommu, P::SelfProtection, P::Processors],
        )
        .always(),
        program("file_permission", Lsm, &[("bpf_lsm_file_permission", 2)], &[P::Write, P::Pci]),
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
        )
        .last(),
        program("fault_page", Entry, &[("insert_pfn", 5), ("vmf_insert_pfn_prot", 4)], &[P::Fault])
            .last(),
        program(
            "fault_pmd",
            Entry,
            &[("vmf_insert_pfn_pmd", 3), ("vmf_insert_pfn_pmd_prot", 4)],
            &[P::Fault],
        )
        .last()
        .optional(),
        program(
            "fault_pud",
            Entry,
            &[("vmf_insert_pfn_pud", 3), ("vmf_insert_pfn_pud_prot", 4)],
            &[P::Fault],
        )
        .last()
        .optional(),
        program("kexec_segment", Entry, &[("kimage_load_segment", 2)], &[P::KexecSegments])
            .last()
            .optional(),
        program("iommu", Entry, &[("__iommu_map", 6), ("iommu_map_nosync", 6)], &[P::Iommu]).last(),
        program("dma_phys", Entry, &[("dma_map_phys", 5), ("dma_map_resource", 5)], &[P::Dma])
            .last(),
        program("dma_page", Exit, &[("dma_map_page_attrs", 6)], &[P::Dma])
            .last()
            .within("dma_map_phys", 5),
        program("ioremap", Entry, &[("__ioremap_caller", 5)], &[P::Ioremap]).last(),
        program("add_memory", Entry, &[("add_memory_resource", 3)], &[P::Hotplug]).last(),
        program("online_pages", Entry, &[("online_pages", 4)], &[P::Hotplug]).last(),
        // The helper by which it goes through a mapping is younger than the list (5.17).
        program(frames::PROGRAM, Listing("task_vma"), &[("bpf_loop", 5)], &[P::Held]),
        program(foreign::PROGRAM, Listing("bpf_prog"), &[("bpf_loop", 5)], &[P::Bpf]),
        program("processor_up", Entry, &[("_cpu_up", 3)], &[P::Processors]).last(),
        program("sysctl", Sysctl, &[], &[P::Ftrace]),
        program("device", Device, &[], &[P::Open, P::Pci]),
        protecting("bpf_map", &[("bpf_lsm_bpf_map", 2)]),
        program(
            "bpf_prog",
            Lsm,
            &[("bpf_lsm_bpf_prog", 1)],
            &[P::SelfProtection, P::Bpf, P::Tracing],
        )
        .late(),
        program("bpf", Lsm, &[("bpf_lsm_bpf", 3), ("bpf_lsm_bpf", 4)], &[P::Bpf, P::Tracing])
            .late(),
        protecting("inode_unlink", &[("bpf_lsm_inode_unlink", 2)]),
        protecting("inode_rename", &[("bpf_lsm_inode_rename", 4)]),
        protecting("inode_create", &[("bpf_lsm_inode_create", 3)]),
        protecting("inode_mkdir", &[("bpf_lsm_inode_mkdir", 3)]),
        protecting("inode_symlink", &[("bpf_lsm_inode_symlink", 3)]),
        protecting("inode_link", &[("bpf_lsm_inode_link", 3)]),
        protecting("path_mknod", &[("bpf_lsm_path_mknod", 4)]),
        protecting("inode_setattr", &[("bpf_lsm_inode_setattr", 3)])
            .within("bpf_lsm_inode_setattr", 2),
        protecting("inode_setattr_before", &[("bpf_lsm_inode_setattr", 2)])
            .within("bpf_lsm_inode_setattr", 3),
        protecting("inode_setxattr", &[("bpf_lsm_inode_setxattr", 6)]),
        protecting("inode_set_acl", &[("bpf_lsm_inode_set_acl", 4)]).optional(),
        protecting("sb_umount", &[("bpf_lsm_sb_umount", 2)]),
        protecting("sb_mount", &[("bpf_lsm_sb_mount", 5)]),
        protecting("move_mount", &[("bpf_lsm_move_mount", 2)]),
        protecting("sb_pivotroot", &[("bpf_lsm_sb_pivotroot", 2)]),
        protecting("task_kill", &[("bpf_lsm_task_kill", 4)]),
        protecting("file_send_sigiotask", &[("bpf_lsm_file_send_sigiotask", 3)]),
        protecting("ptrace_access_check", &[("bpf_lsm_ptrace_access_check", 2)]),
        protecting("bprm_check_security", &[("bpf_lsm_bprm_check_security", 1)]),
        protecting("task_setrlimit", &[("bpf_lsm_task_setrlimit", 3)]),
        protecting("task_setscheduler", &[("bpf_lsm_task_setscheduler", 1)]),
        protecting("task_setnice", &[("bpf_lsm_task_setnice", 2)]),
        protecting("task_setioprio", &[("bpf_lsm_task_setioprio", 2)]),
        protecting("perf_event_alloc", &[("bpf_lsm_perf_event_alloc", 1)]),
        program("breakpoint", Entry, &[("set_swbp", 3)], &[P::SelfProtection]).last().optional(),
        protecting("unix_may_send", &[("bpf_lsm_unix_may_send", 2)]),
        protecting("bprm_committing_creds", &[("bpf_lsm_bprm_committing_creds", 1)]),
    ]
};
