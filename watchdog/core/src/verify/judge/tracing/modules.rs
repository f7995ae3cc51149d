//! Modules: finds the module that contains an address, and the function that begins there
//! (`struct module`, include/linux/module.h; its symbols, kernel/module/kallsyms.c).

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;

use super::super::State;
use super::lists::{End, Record, circular, string};
use crate::verify::reference;

/// Symbols that are read, of one module and of all modules together. A module beyond the second
/// bound has no functions. A call to such a module is unexplained.
const MAX_SYMBOLS: u32 = 1 << 16;
const MAX_ALL_SYMBOLS: u32 = 1 << 19;
/// Modules that are read: ten times as many as a distribution kernel loads.
const MAX_MODULES: usize = 4096;
/// `Elf64_Sym`: name at 0, value at 8.
const SYMBOL_BYTES: usize = 24;
/// Longest name of a module, and of a symbol.
const NAME_BYTES: usize = 56;
const SYMBOL_NAME_BYTES: usize = 128;

/// The modules that a kernel has loaded, by the first address of their code. Of two with one
/// address, the first is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Modules {
    loaded: BTreeMap<u64, Module>,
    layout: Option<reference::Module>,
    /// How the list ended, or the reading of symbols.
    pub(super) end: Cell<End>,
    /// Number of symbols that were read.
    looked_at: Cell<u32>,
}

/// A loaded module.
#[derive(Clone, Debug)]
struct Module {
    name: String,
    /// Bytes of its code.
    size: u64,
    kallsyms: u64,
    /// Address of each symbol's name, by the symbol's own address. The table is read on first use.
    symbols: OnceCell<BTreeMap<u64, u64>>,
}

impl Modules {
    /// Reads the modules on the list at virtual address `list`.
    pub(super) fn loaded(state: &State<'_>, layout: &reference::Module, list: u64) -> Self {
        let name_end = layout.name.saturating_add(NAME_BYTES as u32).saturating_sub(8);
        let fields = [layout.base, layout.size, layout.kallsyms, name_end];
        let last = fields.into_iter().max().unwrap_or_default();
        let module = |link: u64| {
            let record = Record::read(state, link.checked_sub(layout.list.into())?, last)?;
            let base = record.word(layout.base)?;
            let module = Module {
                name: record.string(layout.name, NAME_BYTES)?,
                // The field has four bytes. The other four belong to another field.
                size: record.word(layout.size)? & 0xffff_ffff,
                kallsyms: record.word(layout.kallsyms)?,
                symbols: OnceCell::new(),
            };
            Some((base, module))
        };
        let mut loaded = BTreeMap::new();
        let (links, end) = circular(state, list, MAX_MODULES);
        for (base, module) in links.into_iter().filter_map(module) {
            loaded.entry(base).or_insert(module);
        }
        Self { loaded, layout: Some(*layout), end: Cell::new(end), looked_at: Cell::default() }
    }

    /// Whether an address is in the code of a module.
    pub(super) fn contain(&self, virt: u64) -> bool {
        self.at(virt).is_some()
    }

    /// The module whose code contains an address. In a healthy kernel, the code of two modules
    /// never overlaps.
    fn at(&self, virt: u64) -> Option<&Module> {
        let (base, module) = self.loaded.range(..=virt).next_back()?;
        virt.checked_sub(*base).filter(|offset| *offset < module.size).map(|_| module)
    }

    /// The name of the module function that begins at `virt`: `name [module]`.
    pub(super) fn symbol(&self, state: &State<'_>, virt: u64) -> Option<String> {
        let module = self.at(virt)?;
        let symbols =
            module.symbols.get_or_init(|| self.symbols_of(state, module).unwrap_or_default());
        let name = string(state, *symbols.get(&virt)?, SYMBOL_NAME_BYTES)?;
        Some(format!("{name} [{}]", module.name))
    }

    /// Reads the symbols of a module. Of several with one address, the first is taken.
    fn symbols_of(&self, state: &State<'_>, module: &Module) -> Option<BTreeMap<u64, u64>> {
        let layout = self.layout?;
        let field = |offset: u32| state.word_at(module.kallsyms.checked_add(offset.into())?);
        let (table, strings) = (field(layout.symtab)?, field(layout.strtab)?);
        let count = u32::try_from(field(layout.num_symtab)? & 0xffff_ffff).ok()?.min(MAX_SYMBOLS);
        let looked_at = self.looked_at.get().saturating_add(count);
        if looked_at > MAX_ALL_SYMBOLS {
            self.end.set(End::Cut);
            return None;
        }
        self.looked_at.set(looked_at);
        let bytes = usize::try_from(count).ok()?.checked_mul(SYMBOL_BYTES)?;
        let table = state.at(table, bytes)?.bytes;
        let (entries, _) = table.as_chunks::<SYMBOL_BYTES>();
        let mut symbols = BTreeMap::new();
        for entry in entries {
            let name = strings.checked_add(u32::from_le_bytes(*entry.first_chunk()?).into());
            let value = u64::from_le_bytes(*entry.get(8..)?.first_chunk()?);
            if let Some(name) = name {
                symbols.entry(value).or_insert(name);
            }
        }
        Some(symbols)
    }
}
