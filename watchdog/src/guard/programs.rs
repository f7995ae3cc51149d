//! The programs: what each is for, and what of the kernel it attaches to.

use super::WritePath;
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
    /// A function through which all that this program would see goes as well, where it exists.
    pub(super) within: Option<(&'static str, usize)>,
}

const fn program(
    name: &'static str,
    kind: Kind,
    functions: &'static [(&'static str, usize)],
    paths: &'static [WritePath],
) -> Program {
    Program { name, kind, functions, paths, optional: false, within: None }
}

impl Program {
    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    const fn within(self, function: &'static str, parameters: usize) -> Self {
        Self { within: Some((function, parameters)), ..self }
    }

    /// Whether another program sees on this kernel all that this one would.
    pub(super) fn is_superfluous(&self, btf: &Btf) -> bool {
        self.within.is_some_and(|(function, count)| btf.check_function(function, count).is_ok())
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

/// All programs: what saves before what decides, so that nothing is denied for want of what was not
/// saved yet. LSM hooks are functions of the name `bpf_lsm_…` (kernel/bpf/bpf_lsm.c).
pub(super) const PROGRAMS: [Program; 25] = {
    use Kind::{Device, Entry, Exit, Lsm, Sysctl};
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
        program("file_open", Lsm, &[("bpf_lsm_file_open", 1)], &[P::Open, P::Pci, P::Iommu]),
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
        program("iommu", Entry, &[("__iommu_map", 6), ("iommu_map_nosync", 6)], &[P::Iommu]),
        program("dma_phys", Entry, &[("dma_map_phys", 5), ("dma_map_resource", 5)], &[P::Dma]),
        program("dma_page", Exit, &[("dma_map_page_attrs", 6)], &[P::Dma])
            .within("dma_map_phys", 5),
        program("ioremap", Entry, &[("__ioremap_caller", 5)], &[P::Ioremap]),
        program("add_memory", Entry, &[("add_memory_resource", 3)], &[P::Hotplug]),
        program("online_pages", Entry, &[("online_pages", 4)], &[P::Hotplug]),
        program("sysctl", Sysctl, &[], &[P::Ftrace]),
        program("device", Device, &[], &[P::Open, P::Pci]),
    ]
};
