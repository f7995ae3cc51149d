//! The lists in which a kernel registers what changes its text, and whether they can be found.

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
    /// The name of the structure of the list's entries.
    structure: &'static str,
    /// Reported if neither the kernel nor its image describes the entries, and no known layout, or
    /// several, fit them.
    unfit: [&'static str; 2],
    /// Reported if the list cannot be found.
    no_variable: &'static str,
}

const TRACERS: Facts = Facts {
    mechanism: "ftrace",
    function: "ftrace_caller",
    variables: &["ftrace_ops_list", "ftrace_list_end"],
    structure: "ftrace_ops",
    unfit: [
        "no type information for `struct ftrace_ops`, and no known layout fits its list",
        "no type information for `struct ftrace_ops`, and several known layouts fit its list",
    ],
    no_variable: "no symbol `ftrace_ops_list` (CONFIG_KALLSYMS_ALL)",
};
const PROBES: Facts = Facts {
    mechanism: "kprobe",
    function: "register_kprobe",
    variables: &["kprobe_table"],
    structure: "kprobe",
    unfit: [
        "no type information for `struct kprobe`, and no known layout fits its list",
        "no type information for `struct kprobe`, and several known layouts fit its list",
    ],
    no_variable: "no symbol `kprobe_table` (CONFIG_KALLSYMS_ALL)",
};
const PROGRAMS: Facts = Facts {
    mechanism: "bpf",
    function: "bpf_ksym_add",
    variables: &["bpf_kallsyms"],
    structure: "bpf_ksym",
    unfit: [
        "no type information for `struct bpf_ksym`, and no known layout fits its list",
        "no type information for `struct bpf_ksym`, and several known layouts fit its list",
    ],
    no_variable: "no symbol `bpf_kallsyms` (CONFIG_KALLSYMS_ALL)",
};
const MODULES: Facts = Facts {
    mechanism: "static-call",
    function: "find_module",
    variables: &["modules"],
    structure: "module",
    unfit: [
        "no type information for `struct module`, and no known layout fits its list",
        "no type information for `struct module`, and several known layouts fit its list",
    ],
    no_variable: "no symbol `modules` (CONFIG_KALLSYMS_ALL)",
};

/// Reported for the lists of a kernel whose image has no symbols, with which it has the lists or
/// lacks them.
const NO_SYMBOLS: &str = "the image has no symbols (CONFIG_KALLSYMS)";

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

/// Why the layout of a list's entries is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verify) enum Unfit {
    /// No known layout fits the entries.
    None,
    /// Several fit, and differ.
    Several,
}

impl List {
    /// A sentence that names the entries' structure.
    pub(in crate::verify) const fn unfit(self, why: Unfit) -> &'static str {
        let [none, several] = self.facts().unfit;
        match why {
            Unfit::None => none,
            Unfit::Several => several,
        }
    }
}

impl Reference {
    /// Why a list of the kernel cannot be found; `None` if it can, or if the kernel has none.
    pub(in crate::verify) fn unnamed(&self, list: List) -> Option<&'static str> {
        let facts = list.facts();
        if self.symbols.is_nameless() {
            return Some(NO_SYMBOLS);
        }
        let is_missing = !self.names(&facts);
        (is_missing && self.symbols.address(facts.function).is_some()).then_some(facts.no_variable)
    }

    /// Whether the variables of a list have symbols.
    fn names(&self, facts: &Facts) -> bool {
        facts.variables.iter().all(|variable| self.symbols.address(variable).is_some())
    }

    /// The lists that cannot be found: the mechanism that needs each, and why.
    pub(super) fn unnamed_lists(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        List::ALL.into_iter().filter_map(|list| Some((list.facts().mechanism, self.unnamed(list)?)))
    }

    /// The names of the structures in the kernel's lists that neither the kernel nor its image
    /// describes. Their layout is the one that fits the lists, of those that are known.
    #[must_use]
    pub fn undescribed(&self) -> Vec<&'static str> {
        let is_described = |list| match list {
            List::Tracers => self.layouts.ftrace_ops.is_some(),
            List::Probes => self.layouts.kprobe.is_some(),
            List::Programs => self.layouts.bpf_ksym.is_some(),
            List::Modules => self.layouts.module.is_some(),
        };
        let lists = List::ALL.into_iter().filter(|list| !is_described(*list));
        lists.map(List::facts).filter(|it| self.names(it)).map(|it| it.structure).collect()
    }
}
