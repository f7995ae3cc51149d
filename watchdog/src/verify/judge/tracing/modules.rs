//! Modules: which one an address lies in, and which of its functions begins there
//! (`struct module`, include/linux/module.h; its symbols, kernel/module/kallsyms.c).

use super::{Cause, Mechanism, State, Tracing, circular, string};
use crate::verify::reference;

/// Symbols of one module that are looked at.
const MAX_SYMBOLS: u32 = 1 << 16;
/// `Elf64_Sym`: name at 0, value at 8.
const SYMBOL_BYTES: usize = 24;
/// Longest name of a module and of a symbol.
const NAME_BYTES: usize = 56;
const SYMBOL_NAME_BYTES: usize = 128;

/// A loaded module.
#[derive(Clone, Debug)]
pub(super) struct Module {
    name: String,
    /// Its code.
    base: u64,
    size: u64,
    kallsyms: u64,
}

/// The modules on the list at virtual `list`.
pub(super) fn loaded(state: &State<'_>, layout: &reference::Module, list: u64) -> Vec<Module> {
    let module = |link: u64| {
        let module = link.checked_sub(layout.list.into())?;
        let field = |offset: u32| state.word_at(module.checked_add(offset.into())?);
        Some(Module {
            name: string(state, module.checked_add(layout.name.into())?, NAME_BYTES)?,
            base: field(layout.base)?,
            // Four bytes, and four of something else behind them.
            size: field(layout.size)? & 0xffff_ffff,
            kallsyms: field(layout.kallsyms)?,
        })
    };
    circular(state, list).into_iter().filter_map(module).collect()
}

/// A static call to a function of a module.
pub(super) fn function(tracing: &Tracing<'_>, virt: u64) -> Result<Cause, &'static str> {
    let name = symbol(tracing, virt).ok_or("a call of no function, of the kernel or a module")?;
    Ok(Cause { mechanism: Mechanism::StaticCall, name })
}

/// The function of a module that begins at `virt`: `name [module]`.
pub(super) fn symbol(tracing: &Tracing<'_>, virt: u64) -> Option<String> {
    let layout = tracing.layouts?.module;
    let module = tracing
        .modules
        .iter()
        .find(|module| virt.checked_sub(module.base).is_some_and(|at| at < module.size))?;
    let state = tracing.state;
    let field = |offset: u32| state.word_at(module.kallsyms.checked_add(offset.into())?);
    let (symbols, strings) = (field(layout.symtab)?, field(layout.strtab)?);
    let count = u32::try_from(field(layout.num_symtab)? & 0xffff_ffff).ok()?.min(MAX_SYMBOLS);
    let bytes = usize::try_from(count).ok()?.checked_mul(SYMBOL_BYTES)?;
    let table = state.at(symbols, bytes)?.bytes;
    let (entries, _) = table.as_chunks::<SYMBOL_BYTES>();
    let at = |entry: &&[u8; SYMBOL_BYTES]| {
        entry.last_chunk::<16>().and_then(|rest| rest.first_chunk()).copied()
            == Some(virt.to_le_bytes())
    };
    let entry = entries.iter().find(at)?;
    let name = u32::from_le_bytes(*entry.first_chunk()?);
    let name = string(state, strings.checked_add(name.into())?, SYMBOL_NAME_BYTES)?;
    Some(format!("{name} [{}]", module.name))
}
