//! A livepatch module, made for one kernel: no distribution ships one to load.
//!
//! It replaces [`FUNCTION`] by one that returns 0. The kernel's structures are needed only as far as
//! their first fields, which have stood since 4.0 (include/linux/livepatch.h); what is behind them is
//! zero, as in a patch that fills in nothing else. What differs between kernels is copied from one of
//! their own modules: the size of `struct module`, where its two functions are, the version magic.

use anyhow::{Context, Result};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, Object as _, ObjectSection as _, ObjectSymbol as _,
    RelocationFlags, RelocationTarget, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf,
};

use crate::kernel::Kernel;

/// The module's name.
pub const NAME: &str = "watchdog_livepatch";
/// The function that it replaces: it prints `/proc/cmdline`, which is empty then.
pub const FUNCTION: &str = "cmdline_proc_show";
/// A module of every kernel, to copy from.
const TEMPLATE: &str = "loop";

const THIS_MODULE: &str = ".gnu.linkonce.this_module";

/// Where the pieces are in `.text`.
const REPLACEMENT: u64 = 0;
const INIT: u64 = 0x10;
const CLEANUP: u64 = 0x30;
/// `endbr64; xor eax, eax; ret`, `endbr64; lea rdi, [rip + patch]; jmp klp_enable_patch`, and
/// `endbr64; ret`. The jump leaves no frame of a module that the unwinder has no table for.
const CODE: [(u64, &[u8]); 3] = [
    (REPLACEMENT, b"\xf3\x0f\x1e\xfa\x31\xc0\xc3"),
    (INIT, b"\xf3\x0f\x1e\xfa\x48\x8d\x3d\0\0\0\0\xe9\0\0\0\0"),
    (CLEANUP, b"\xf3\x0f\x1e\xfa\xc3"),
];

/// Where the pieces are in `.data`. Arrays end at an element of zeros, of whatever size.
const PATCH: u64 = 0;
const OBJECTS: u64 = 0x1000;
const FUNCTIONS: u64 = 0x2000;
const FUNCTION_NAME: u64 = 0x3000;
const DATA_SIZE: usize = 0x3100;

/// The module for this kernel.
///
/// # Errors
/// When the kernel has no module to copy from, or one of another shape.
pub fn module(kernel: &Kernel) -> Result<Vec<u8>> {
    let template = kernel.modules([TEMPLATE])?.pop().context("loop is built in")?.read()?;
    let template = Template::of(&template).with_context(|| format!("{TEMPLATE} as template"))?;
    let mut writer = Writer::new();
    let text = writer.section(".text", SectionKind::Text, &code());
    let data = writer.section(".data", SectionKind::Data, &vec![0; DATA_SIZE]);
    let this = writer.section(THIS_MODULE, SectionKind::Data, &template.this_module);
    // No `__versions`: the checksum of `klp_enable_patch` is in no module. Kernels with
    // CONFIG_MODVERSIONS and CONFIG_MODULE_FORCE_LOAD, as Debian's, take it and call themselves
    // tainted (`check_version`, kernel/module/version.c).
    let entries = ["license=GPL", "depends=", "retpoline=Y", "livepatch=Y", "name="].join("\0");
    let info = format!("{entries}{NAME}\0{}\0", template.magic);
    writer.section(".modinfo", SectionKind::ReadOnlyData, info.as_bytes());
    writer.object.section_mut(data).data_mut()[FUNCTION_NAME as usize..][..FUNCTION.len()]
        .copy_from_slice(FUNCTION.as_bytes());
    let replacement = writer.symbol("replacement", SymbolSection::Section(text), REPLACEMENT);
    let init = writer.symbol("init_module", SymbolSection::Section(text), INIT);
    let cleanup = writer.symbol("cleanup_module", SymbolSection::Section(text), CLEANUP);
    let data_start = writer.symbol("patch", SymbolSection::Section(data), PATCH);
    let module = writer.symbol("__this_module", SymbolSection::Section(this), 0);
    let enable = writer.symbol("klp_enable_patch", SymbolSection::Undefined, 0);
    // `struct klp_patch`: mod, objs. `struct klp_object`: name (none: the kernel), funcs.
    // `struct klp_func`: old_name, new_func.
    writer.pointer(data, PATCH, module, 0)?;
    writer.pointer(data, PATCH + 8, data_start, OBJECTS)?;
    writer.pointer(data, OBJECTS + 8, data_start, FUNCTIONS)?;
    writer.pointer(data, FUNCTIONS, data_start, FUNCTION_NAME)?;
    writer.pointer(data, FUNCTIONS + 8, replacement, 0)?;
    writer.pointer(this, template.init_at, init, 0)?;
    writer.pointer(this, template.cleanup_at, cleanup, 0)?;
    writer.relative(text, INIT + 7, data_start, elf::R_X86_64_PC32)?;
    writer.relative(text, INIT + 12, enable, elf::R_X86_64_PLT32)?;
    Ok(writer.object.write()?)
}

fn code() -> Vec<u8> {
    // Between the pieces, int3.
    let mut text = vec![0xcc; 0x40];
    for (at, code) in CODE {
        text[at as usize..][..code.len()].copy_from_slice(code);
    }
    text
}

/// What is taken from a module of the kernel's own.
struct Template {
    /// `struct module`, zero but for the name.
    this_module: Vec<u8>,
    init_at: u64,
    cleanup_at: u64,
    /// `vermagic=…`
    magic: String,
}

impl Template {
    fn of(module: &[u8]) -> Result<Self> {
        let file = object::File::parse(module)?;
        let section = |name| file.section_by_name(name).with_context(|| format!("no {name}"));
        let this = section(THIS_MODULE)?;
        let place_of = |name: &str| {
            let leads_there = |relocation: &object::Relocation| match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    file.symbol_by_index(index).is_ok_and(|symbol| symbol.name() == Ok(name))
                }
                _ => false,
            };
            let found = this.relocations().find(|(_, relocation)| leads_there(relocation));
            found.map(|(at, _)| at).with_context(|| format!("no {name}"))
        };
        let mut this_module = vec![0; this.data()?.len()];
        let old_name = TEMPLATE.as_bytes();
        let name_at = this.data()?.windows(old_name.len()).position(|bytes| bytes == old_name);
        let name_at = name_at.context("no name in struct module")?;
        this_module[name_at..][..NAME.len()].copy_from_slice(NAME.as_bytes());
        let info = section(".modinfo")?.data()?;
        let magic = info.split(|byte| *byte == 0).find(|entry| entry.starts_with(b"vermagic="));
        Ok(Self {
            this_module,
            init_at: place_of("init_module")?,
            cleanup_at: place_of("cleanup_module")?,
            magic: String::from_utf8(magic.context("no vermagic")?.to_vec())?,
        })
    }
}

/// An object file that is being written.
struct Writer {
    object: Object<'static>,
}

impl Writer {
    fn new() -> Self {
        let format = BinaryFormat::Elf;
        Self { object: Object::new(format, Architecture::X86_64, Endianness::Little) }
    }

    fn section(&mut self, name: &str, kind: SectionKind, content: &[u8]) -> SectionId {
        let section = self.object.add_section(Vec::new(), name.into(), kind);
        self.object.append_section_data(section, content, 64);
        section
    }

    fn symbol(&mut self, name: &str, section: SymbolSection, value: u64) -> SymbolId {
        let undefined = matches!(section, SymbolSection::Undefined);
        let kind = if undefined { SymbolKind::Unknown } else { SymbolKind::Data };
        self.object.add_symbol(Symbol {
            name: name.into(),
            value,
            size: 0,
            kind,
            scope: SymbolScope::Dynamic,
            weak: false,
            section,
            flags: SymbolFlags::None,
        })
    }

    fn pointer(&mut self, section: SectionId, at: u64, to: SymbolId, plus: u64) -> Result<()> {
        self.relocate(section, at, to, plus.cast_signed(), elf::R_X86_64_64)
    }

    /// The last four bytes of an instruction, relative to its end.
    fn relative(&mut self, section: SectionId, at: u64, to: SymbolId, kind: u32) -> Result<()> {
        self.relocate(section, at, to, -4, kind)
    }

    fn relocate(
        &mut self,
        section: SectionId,
        offset: u64,
        symbol: SymbolId,
        addend: i64,
        r_type: u32,
    ) -> Result<()> {
        let flags = RelocationFlags::Elf { r_type };
        Ok(self.object.add_relocation(section, Relocation { offset, symbol, addend, flags })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the code's pieces do not overlap.
    #[test]
    fn pieces_of_code() {
        for pair in CODE.windows(2) {
            assert!(pair[0].0 + pair[0].1.len() as u64 <= pair[1].0);
        }
        assert_eq!(code()[CLEANUP as usize + 4], 0xc3);
    }
}
