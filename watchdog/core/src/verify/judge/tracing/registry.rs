//! The tracers, programs and modules that a kernel has registered at one moment, with their names.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::super::branch::Place;
use super::super::counting::Counting;
use super::super::{Expected, State};
use super::cause::NoCause;
use super::fits::ListLayouts;
use super::kprobes::Probes;
use super::lists::{End, MAX_SHOWN};
use super::modules::Modules;
use super::ops::{self, KPROBE_HANDLER, LIVEPATCH_HANDLER, Ops};
use super::programs::Programs;
use crate::text::shortened;
use crate::verify::reference::List;

/// The tracers, programs and modules that a kernel has registered at one moment.
pub(in super::super) struct Tracing<'a> {
    pub(super) expected: &'a Expected,
    pub(super) state: &'a State<'a>,
    pub(super) probes: &'a Probes,
    /// The code that counts calls, if the kernel counts them.
    pub(super) counting: Option<&'a Counting>,
    pub(super) layouts: &'a ListLayouts,
    pub(super) ops: Vec<Ops>,
    /// How the list of tracers ended.
    pub(super) ops_end: End,
    /// Index in `ops` by the virtual address of the trampoline.
    pub(super) trampolines: BTreeMap<u64, usize>,
    /// The names of all tracers, computed on first use.
    pub(super) tracers: OnceCell<String>,
    /// Virtual addresses of the tracers that act differently at each place.
    pub(super) shared: [Option<u64>; 2],
    pub(super) programs: Programs,
    pub(super) modules: Modules,
}

impl<'a> Tracing<'a> {
    /// Reads the kernel's lists. A list is empty if the layout of its entries is not
    /// known.
    pub(in super::super) fn look(
        expected: &'a Expected,
        state: &'a State<'a>,
        probes: &'a Probes,
        layouts: &'a ListLayouts,
    ) -> Self {
        let symbol = |name: &str| {
            let offset = expected.reference.symbols.address(name)?;
            Some(state.virt_of(offset.into()))
        };
        let thunk = expected.reference.tables.known_symbols.return_thunk;
        let chosen = thunk.and_then(|variable| state.word(variable));
        let counting =
            expected.counting.as_ref().filter(|counting| counting.is_in_use(chosen, state));
        let mut tracing = Self {
            expected,
            state,
            probes,
            counting,
            layouts,
            ops: Vec::new(),
            ops_end: End::Whole,
            trampolines: BTreeMap::new(),
            tracers: OnceCell::new(),
            shared: [LIVEPATCH_HANDLER, KPROBE_HANDLER].map(symbol),
            programs: Programs::default(),
            modules: Modules::default(),
        };
        let ListLayouts { layouts, .. } = layouts;
        let tracers = symbol("ftrace_ops_list").zip(symbol("ftrace_list_end"));
        if let (Some(layout), Some((list, end))) = (layouts.ftrace_ops, tracers) {
            (tracing.ops, tracing.ops_end) = ops::registered(state, &layout, list, end);
            for (n, ops) in tracing.ops.iter().enumerate() {
                tracing.trampolines.entry(ops.trampoline).or_insert(n);
            }
        }
        if let (Some(layout), Some(list)) = (layouts.bpf_ksym, symbol("bpf_kallsyms")) {
            tracing.programs = Programs::registered(state, &layout, list);
        }
        if let (Some(layout), Some(list)) = (layouts.module, symbol("modules")) {
            tracing.modules = Modules::loaded(state, &layout, list);
        }
        tracing
    }

    /// Why a list cannot be read; `None` if it can, or if the kernel has none.
    pub(super) fn unreadable(&self, list: List) -> Option<&'static str> {
        if list == List::Probes {
            return self.probes.unreadable;
        }
        self.expected.reference.unnamed(list).or(self.layouts.unfit(list))
    }

    pub(super) fn is_inside(&self, target: Place) -> bool {
        (0..i64::from(self.expected.text_size())).contains(&target)
    }

    /// The tracer whose trampoline is at a place.
    pub(super) fn tracer_at(&self, target: Place) -> Option<&Ops> {
        let virt = self.state.virt_of(target);
        self.ops.get(*self.trampolines.get(&virt)?)
    }

    /// The name of a function, of the kernel or of a module.
    pub(super) fn name(&self, virt: u64) -> Option<String> {
        let symbols = &self.expected.reference.symbols;
        match self.state.offset_of(virt) {
            Some(offset) => Some(shortened(symbols.at(offset)?.to_owned(), MAX_SHOWN)),
            None => self.modules.symbol(self.state, virt),
        }
    }

    /// What a function without a name means: nothing if the names of modules cannot be read.
    pub(super) fn nameless(&self, why: &'static str) -> NoCause {
        let modules = self.unreadable(List::Modules);
        modules.map_or(NoCause::Unexplained(why), NoCause::NotJudged)
    }

    /// A place in the text, by the name of its function: `vfs_read+0x5`.
    pub(super) fn place(&self, at: u32) -> String {
        let Some((name, offset)) = self.expected.reference.symbols.lookup(at) else {
            return format!("{at:#x}");
        };
        let name = shortened(name.to_owned(), MAX_SHOWN);
        if offset == 0 { name } else { format!("{name}+{offset:#x}") }
    }

    /// The name of a function, or its address if it has no name.
    pub(super) fn name_or_address(&self, virt: u64) -> String {
        self.name(virt).unwrap_or_else(|| format!("{virt:#x}"))
    }
}
