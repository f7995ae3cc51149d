//! The layouts of all lists together.

use super::super::super::{Expected, State};
use super::fit::Fit;
use super::modules::modules;
use super::probes::{buckets, probes};
use super::programs::programs;
use super::tracers::tracers;
use crate::verify::reference::{Layouts, List};

/// The layouts by which a kernel's lists are read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListLayouts {
    /// Those that are described, and those that fit. Without one, the list has no entries or cannot
    /// be read.
    pub layouts: Layouts,
    /// The lists that cannot be read, each with the reason.
    unfit: Vec<(List, &'static str)>,
}

impl ListLayouts {
    /// Looks for the layouts that neither the kernel nor its image describes.
    #[must_use]
    pub fn look(expected: &Expected, state: &State<'_>) -> Self {
        let reference = &expected.reference;
        let symbol = |name: &str| Some(state.virt_of(reference.symbols.address(name)?.into()));
        let mut found = Self { layouts: reference.layouts, unfit: Vec::new() };
        let layouts = reference.layouts;
        found.layouts.ftrace_ops = found.or_described(List::Tracers, layouts.ftrace_ops, || {
            let (list, end) = symbol("ftrace_ops_list").zip(symbol("ftrace_list_end"))?;
            Some(tracers(state, list, end, symbol("global_ops")))
        });
        found.layouts.kprobe = found.or_described(List::Probes, layouts.kprobe, || {
            Some(probes(expected, state, &buckets(expected, state)))
        });
        found.layouts.bpf_ksym = found.or_described(List::Programs, layouts.bpf_ksym, || {
            Some(programs(state, symbol("bpf_kallsyms")?))
        });
        found.layouts.module = found.or_described(List::Modules, layouts.module, || {
            Some(modules(state, symbol("modules")?))
        });
        found
    }

    /// The layout of a list's entries that is described, or else the one that fits.
    fn or_described<T>(
        &mut self,
        list: List,
        described: Option<T>,
        fit: impl FnOnce() -> Option<Fit<T>>,
    ) -> Option<T> {
        if described.is_some() {
            return described;
        }
        match fit()? {
            Fit::Empty => None,
            Fit::One(layout) => Some(layout),
            Fit::Unfit(why) => {
                self.unfit.push((list, list.unfit(why)));
                None
            }
        }
    }

    /// Why the layout of a list's entries is not known, although it has some.
    pub(in super::super) fn unfit(&self, list: List) -> Option<&'static str> {
        self.unfit.iter().find(|(of, _)| *of == list).map(|(_, why)| *why)
    }
}
