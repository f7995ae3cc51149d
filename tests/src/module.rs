//! Loadable modules, made for one kernel without a compiler or that kernel's headers.
//!
//! The differences between kernels are copied from one of their own modules: the size of
//! `struct module`, the offsets of its two functions, and the version magic.

use anyhow::{Context, Result};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, Object as _, ObjectSection as _, ObjectSymbol as _,
    RelocationFlags, RelocationTarget, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf,
};

use crate::kernel::Kernel;

/// A module that every kernel has, to copy from.
const TEMPLATE: &str = "loop";
const THIS_MODULE: &str = ".gnu.linkonce.this_module";
/// Alignment of functions and data.
const ALIGNMENT: usize = 64;
/// `int3`, which fills the space between functions.
const FILLING: u8 = 0xcc;

/// A module under construction.
pub(crate) struct Module {
    object: Object<'static>,
    text: SectionId,
    data: SectionId,
    this: SectionId,
    template: Template,
}

impl Module {
    /// Makes an empty module of this name, under the GPL. `info` is more of what `modinfo` shows.
    ///
    /// # Errors
    /// If the kernel has no module to copy from, or one in an unknown format.
    pub(crate) fn new(kernel: &Kernel, name: &str, info: &[&str]) -> Result<Self> {
        let template = kernel.modules([TEMPLATE])?.pop().context("loop is built in")?.read()?;
        let template =
            Template::of(&template, name).with_context(|| format!("{TEMPLATE} as template"))?;
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let mut section =
            |name: &str, kind| object.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        let text = section(".text", SectionKind::Text);
        let data = section(".data", SectionKind::Data);
        let this = section(THIS_MODULE, SectionKind::Data);
        let about = section(".modinfo", SectionKind::ReadOnlyData);
        object.append_section_data(this, &template.this_module, ALIGNMENT as u64);
        // No `__versions`: the modules to copy from do not have the checksums of all called
        // functions. Kernels with CONFIG_MODVERSIONS and CONFIG_MODULE_FORCE_LOAD, such as
        // Debian's, accept that and become tainted (`check_version`, kernel/module/version.c).
        let named = format!("name={name}");
        let always = ["license=GPL", "depends=", "retpoline=Y", &named, &template.magic];
        let entries = [&always, info].concat().join("\0") + "\0";
        object.append_section_data(about, entries.as_bytes(), 1);
        Ok(Self { object, text, data, this, template })
    }

    /// Adds a reference to a symbol that the kernel exports.
    pub(crate) fn import(&mut self, name: &str) -> SymbolId {
        self.symbol(name, SymbolSection::Undefined, 0, 0)
    }

    /// Adds a reference to the module itself, `THIS_MODULE`.
    pub(crate) fn this(&mut self) -> SymbolId {
        let size = self.template.this_module.len();
        self.symbol("__this_module", SymbolSection::Section(self.this), 0, size)
    }

    /// Adds writable data.
    pub(crate) fn data(&mut self, name: &str, content: &[u8]) -> SymbolId {
        let at = self.object.append_section_data(self.data, content, ALIGNMENT as u64);
        self.symbol(name, SymbolSection::Section(self.data), at, content.len())
    }

    /// Writes into the data `to`, at an offset.
    pub(crate) fn fill(&mut self, to: SymbolId, offset: u64, content: &[u8]) {
        let at = (self.object.symbol(to).value + offset) as usize;
        self.object.section_mut(self.data).data_mut()[at..][..content.len()]
            .copy_from_slice(content);
    }

    /// Makes the data `from` point to a symbol, at an offset.
    pub(crate) fn point(&mut self, from: SymbolId, offset: u64, to: SymbolId) -> Result<()> {
        let at = self.object.symbol(from).value + offset;
        self.relocate(self.data, at, to, 0, elf::R_X86_64_64)
    }

    /// Adds a function.
    pub(crate) fn function(&mut self, name: &str, code: &Code) -> Result<SymbolId> {
        let mut bytes = code.bytes.clone();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), FILLING);
        let start = self.object.append_section_data(self.text, &bytes, ALIGNMENT as u64);
        for &(at, symbol) in &code.references {
            let undefined = self.object.symbol(symbol).section == SymbolSection::Undefined;
            let kind = if undefined { elf::R_X86_64_PLT32 } else { elf::R_X86_64_PC32 };
            // Relative to the end of the instruction. These are its last four bytes.
            self.relocate(self.text, start + at as u64, symbol, -4, kind)?;
        }
        Ok(self.symbol(name, SymbolSection::Section(self.text), start, code.bytes.len()))
    }

    /// Writes the file. `init` runs when the module is loaded, `cleanup` when it is unloaded.
    pub(crate) fn finish(mut self, init: &Code, cleanup: &Code) -> Result<Vec<u8>> {
        let init = self.function("init_module", init)?;
        let cleanup = self.function("cleanup_module", cleanup)?;
        self.relocate(self.this, self.template.init_at, init, 0, elf::R_X86_64_64)?;
        self.relocate(self.this, self.template.cleanup_at, cleanup, 0, elf::R_X86_64_64)?;
        Ok(self.object.write()?)
    }

    fn symbol(&mut self, name: &str, section: SymbolSection, at: u64, size: usize) -> SymbolId {
        let kind = match section {
            SymbolSection::Undefined => SymbolKind::Unknown,
            SymbolSection::Section(id) if id == self.text => SymbolKind::Text,
            _ => SymbolKind::Data,
        };
        self.object.add_symbol(Symbol {
            name: name.into(),
            value: at,
            size: size as u64,
            kind,
            scope: SymbolScope::Dynamic,
            weak: false,
            section,
            flags: SymbolFlags::None,
        })
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

/// The code of a function, in bytes. The kernel fills in its references.
#[derive(Default)]
pub(crate) struct Code {
    bytes: Vec<u8>,
    /// Offsets of four bytes that are a distance, and the symbols they refer to.
    references: Vec<(usize, SymbolId)>,
}

impl Code {
    /// The start of a function: with indirect branch tracking, indirect branches must lead to
    /// `endbr64`.
    pub(crate) fn entry() -> Self {
        Self { bytes: b"\xf3\x0f\x1e\xfa".to_vec(), references: Vec::new() }
    }

    /// Appends instructions, or the beginning of one.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// Appends the end of an instruction: the distance to a symbol.
    pub(crate) fn to(mut self, symbol: SymbolId) -> Self {
        self.references.push((self.bytes.len(), symbol));
        self.bytes(&[0; 4])
    }

    /// Appends a conditional jump (its first byte) over code, and that code.
    pub(crate) fn jump_over(self, condition: u8, skipped: Self) -> Result<Self> {
        let distance = i8::try_from(skipped.bytes.len())?;
        Ok(self.bytes(&[condition, distance.cast_unsigned()]).then(skipped))
    }

    /// Appends more code.
    pub(crate) fn then(mut self, more: Self) -> Self {
        let start = self.bytes.len();
        self.references.extend(more.references.iter().map(|&(at, to)| (start + at, to)));
        self.bytes(&more.bytes)
    }

    /// `lea rdi, [rip + symbol]`: makes the symbol the first argument.
    pub(crate) fn first_argument(self, symbol: SymbolId) -> Self {
        self.bytes(b"\x48\x8d\x3d").to(symbol)
    }

    /// `call symbol`.
    pub(crate) fn call(self, symbol: SymbolId) -> Self {
        self.bytes(b"\xe8").to(symbol)
    }

    /// `jmp symbol`: a call whose result is the function's. It leaves no stack frame of a module
    /// for which the unwinder has no table.
    pub(crate) fn tail_call(self, symbol: SymbolId) -> Self {
        self.bytes(b"\xe9").to(symbol)
    }

    /// `xor eax, eax; ret`.
    pub(crate) fn return_zero(self) -> Self {
        self.bytes(b"\x31\xc0\xc3")
    }
}

/// What is copied from one of the kernel's own modules.
struct Template {
    /// `struct module`, all zero except the new name.
    this_module: Vec<u8>,
    init_at: u64,
    cleanup_at: u64,
    /// `vermagic=…`
    magic: String,
}

impl Template {
    fn of(module: &[u8], new_name: &str) -> Result<Self> {
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
        this_module[name_at..][..new_name.len()].copy_from_slice(new_name.as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that code that is jumped over keeps its references, and that the code after it does
    /// not move.
    #[test]
    fn jumps() {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let section = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
        let symbol = object.section_symbol(section);
        let skipped = Code::default().bytes(b"\x90").call(symbol);
        let code = Code::entry().jump_over(0x74, skipped).expect("short").call(symbol);
        assert_eq!(code.bytes, b"\xf3\x0f\x1e\xfa\x74\x06\x90\xe8\0\0\0\0\xe8\0\0\0\0");
        assert_eq!(code.references, [(8, symbol), (13, symbol)]);
        let far = Code::default().bytes(&[0x90; 128]);
        assert!(Code::entry().jump_over(0x74, far).is_err());
    }
}
