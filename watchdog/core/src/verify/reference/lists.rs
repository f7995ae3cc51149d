//! The lists in which a kernel registers what changes its text, and whether they can be read.

use super::Reference;

/// A list in which a kernel registers what changes its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// ftrace's tracers.
    Tracers,
    /// Probes at instructions.
    Probes,
    /// BPF programs and trampolines.
    Programs,
    /// Modules, whose functions the kernel may call.
    Modules,
}

/// What is known of a list.
struct Facts {
    /// The mechanism that needs the list.
    mechanism: &'static str,
    /// A function of each kernel that has the list. Its symbol is there without those of data.
    function: &'static str,
    /// The variables in which the list is.
    variables: &'static [&'static str],
    /// Reported if the kernel does not describe the list's entries.
    no_structure: &'static str,
    /// Reported if the list cannot be found.
    no_variable: &'static str,
}

const TRACERS: Facts = Facts {
    mechanism: "ftrace",
    function: "ftrace_caller",
    variables: &["ftrace_ops_list", "ftrace_list_end"],
    no_structure: "no type information for `struct ftrace_ops`",
    no_variable: "no symbol `ftrace_ops_list` (CONFIG_KALLSYMS_ALL)",
};
const PROBES: Facts = Facts {
    mechanism: "kprobe",
    function: "register_kprobe",
    variables: &["kprobe_table"],
    no_structure: "no type information for `struct kprobe`",
    no_variable: "no symbol `kprobe_table` (CONFIG_KALLSYMS_ALL)",
};
const PROGRAMS: Facts = Facts {
    mechanism: "bpf",
    function: "bpf_ksym_add",
    variables: &["bpf_kallsyms"],
    no_structure: "no type information for `struct bpf_ksym`",
    no_variable: "no symbol `bpf_kallsyms` (CONFIG_KALLSYMS_ALL)",
};
const MODULES: Facts = Facts {
    mechanism: "static-call",
    function: "find_module",
    variables: &["modules"],
    no_structure: "no type information for `struct module` or `struct mod_kallsyms`",
    no_variable: "no symbol `modules` (CONFIG_KALLSYMS_ALL)",
};

impl List {
    const ALL: [Self; 4] = [Self::Tracers, Self::Probes, Self::Programs, Self::Modules];

    const fn facts(self) -> Facts {
        match self {
            Self::Tracers => TRACERS,
            Self::Probes => PROBES,
            Self::Programs => PROGRAMS,
            Self::Modules => MODULES,
        }
    }
}

impl Reference {
    /// Why a list of the kernel cannot be read; `None` if it can, or if the kernel has none.
    pub(in crate::verify) fn unreadable(&self, list: List) -> Option<&'static str> {
        let facts = list.facts();
        let has = |symbol: &str| self.symbols.address(symbol).is_some();
        if !facts.variables.iter().all(|variable| has(variable)) {
            return has(facts.function).then_some(facts.no_variable);
        }
        let is_described = match list {
            List::Tracers => self.layouts.ftrace_ops.is_some(),
            List::Probes => self.layouts.kprobe.is_some(),
            List::Programs => self.layouts.bpf_ksym.is_some(),
            List::Modules => self.layouts.module.is_some(),
        };
        (!is_described).then_some(facts.no_structure)
    }

    /// The lists that cannot be read: the mechanism that needs each, and why.
    pub(super) fn unreadable_lists(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        List::ALL
            .into_iter()
            .filter_map(|list| Some((list.facts().mechanism, self.unreadable(list)?)))
    }
}
