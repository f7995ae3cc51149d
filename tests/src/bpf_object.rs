//! Object files with one eBPF program, in the form that a compiler makes, for Debian's loaders.

use anyhow::{Context, Result};
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

/// Makes an ELF object under the GPL whose section of this name has a program that returns
/// `verdict`.
///
/// # Errors
/// If the object cannot be written.
pub fn returning(section: &str, verdict: i32) -> Result<Vec<u8>> {
    // `r0 = verdict; exit` (Documentation/bpf/standardization/instruction-set.rst).
    let code = [0xb7 | (u64::from(verdict.cast_unsigned()) << 32), 0x95];
    let code: Vec<u8> = code.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let name = section.as_bytes().to_vec();
    let text = object.add_section(Vec::new(), name, SectionKind::Text);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    let value = object.append_section_data(text, &code, 8);
    object.append_section_data(license, b"GPL\0", 1);
    object.add_symbol(Symbol {
        name: b"program".to_vec(),
        value,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    object.write().context("no object")
}
