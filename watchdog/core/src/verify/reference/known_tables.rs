//! The tables of a kernel whose entries lead into its text, and what they are.
//!
//! The names are those of sections, and of pairs of symbols (`__start_…`, `__stop_…`), without
//! leading dots and underscores. They come from include/asm-generic/vmlinux.lds.h and
//! arch/x86/kernel/vmlinux.lds.S (5.10 to 7.3).

/// What a known table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A patch table. A rule judges its sites, or they are reported under the rule's name.
    Rule,
    /// A table by which the kernel does not change its text, with what it is for.
    Data(&'static str),
}

use Known::{Data, Rule};

/// Tables by their names.
const TABLES: &[(&str, Known)] = &[
    ("altinstructions", Rule),
    ("call_sites", Rule),
    ("cfi_sites", Rule),
    ("ibt_endbr_seal", Rule),
    ("jump_table", Rule),
    ("mcount_loc", Rule),
    ("parainstructions", Rule),
    ("retpoline_sites", Rule),
    ("return_sites", Rule),
    ("smp_locks", Rule),
    ("static_call_sites", Rule),
    ("BTF_ids", Data("numbers of types")),
    ("bug_table", Data("the places of warnings, which a handler looks up")),
    ("error_injection_whitelist", Data("functions that may be made to fail")),
    ("ex_table", Data("instructions that may fault, which a handler looks up")),
    ("init_rodata", Data("data that is used at boot")),
    ("iommu_table", Data("functions that are called at boot")),
    ("kcfi_traps", Data("the places of traps, which a handler looks up")),
    ("kprobe_blacklist", Data("functions that may not be probed")),
    ("kretprobe_blacklist", Data("functions that may not be probed")),
    ("ksymtab", Data("symbols for modules")),
    ("ksymtab_gpl", Data("symbols for modules")),
    ("orc_unwind_ip", Data("places for the stack unwinder, which looks them up")),
    ("pci_fixup", Data("functions that are called for devices")),
    ("static_call_tramp_key", Data("the keys of trampolines, for modules")),
    ("tracepoints_ptrs", Data("pointers to tracepoints")),
];

/// The same, by the start of their names.
const PREFIXES: &[(&str, Known)] = &[
    ("runtime_ptr_", Rule),
    ("runtime_shift_", Rule),
    ("runtime_mask_", Rule),
    ("pci_fixups_", Data("functions that are called for devices")),
];

/// What the table of this name is; `None` for a name that this version does not know.
pub(super) fn known(name: &str) -> Option<Known> {
    let name = name.trim_start_matches(['.', '_']);
    let exact = TABLES.iter().find(|(known, _)| *known == name);
    exact
        .or_else(|| PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)))
        .map(|(_, known)| *known)
}
