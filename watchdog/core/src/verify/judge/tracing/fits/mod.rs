//! Layouts of list entries that neither the kernel nor its image describes.
//!
//! The order of a structure's fields is known from the kernel's sources (5.10 to 7.2). Their
//! offsets depend on the version and on options. A candidate counts only if it fits the kernel's
//! own list: links agree in both directions, code is executable, names can be printed, and pointers
//! of an entry to itself do so. Exactly one candidate must fit all entries that are examined.
//!
//! The list may be forged. It then has a layout that the attacker chose, or none. Neither explains
//! a branch: what an entry leads to is checked as it is in a kernel with type information.

mod modules;
mod probes;
mod programs;
#[cfg(test)]
mod tests;
mod tracers;

use super::super::{Expected, State};
use super::kprobes::buckets;
use super::lists::{End, circular};
use crate::verify::reference::{Layouts, List, Unfit};
use modules::modules;
use probes::probes;
use programs::programs;
use tracers::tracers;

/// Entries of each list that are examined: as many as one page shows. An entry behind them is read
/// by the layout that these have.
pub(super) const EXAMINED: usize = 64;

/// The layout that fits a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit<T> {
    /// The list has no entries, so that no layout is needed.
    Empty,
    /// This one alone.
    One(T),
    /// Unknown.
    Unfit(Unfit),
}

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
    pub(super) fn unfit(&self, list: List) -> Option<&'static str> {
        self.unfit.iter().find(|(of, _)| *of == list).map(|(_, why)| *why)
    }
}

/// The only one of the candidates that fit.
pub(super) fn only<T>(mut fitting: impl Iterator<Item = T>) -> Fit<T> {
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Fit::One(one),
        (Some(_), Some(_)) => Fit::Unfit(Unfit::Several),
        (None, _) => Fit::Unfit(Unfit::None),
    }
}

/// The first entries of the circular list at `head`, by the address of their links. `None` if a
/// link does not lead back to the one before it.
fn linked(state: &State<'_>, head: u64) -> Option<Vec<u64>> {
    let (links, end) = circular(state, head, EXAMINED);
    let is_sound = matches!(end, End::Whole | End::Cut);
    let before = [head].into_iter().chain(links.iter().copied());
    let leads_back = |(before, link): (u64, &u64)| {
        link.checked_add(8).and_then(|at| state.word_at(at)) == Some(before)
    };
    (is_sound && before.zip(&links).all(leads_back)).then_some(links)
}

/// Whether an address is in executable memory.
fn is_code(state: &State<'_>, virt: u64) -> bool {
    state.at(virt, 1).is_some_and(|code| code.executable)
}

/// Whether bytes begin with a name that can be printed, up to a NUL.
fn is_name(bytes: &[u8]) -> bool {
    let name = bytes.iter().position(|byte| *byte == 0).and_then(|end| bytes.get(..end));
    name.is_some_and(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic))
}
