//! The symbols of an ELF file's own table, which a `vmlinux` has and a bzImage lacks.

use object::elf;
use object::read::ReadRef;
use object::read::elf::SectionHeader;

use super::vmlinux::{LE, Symbol, Vmlinux, is_mapped, string};
use crate::memory::VirtAddr;

/// Most symbols of a kernel; Debian's have some 250,000.
const MAX_SYMBOLS: usize = 2 << 20;

impl<'data, R: ReadRef<'data>> Vmlinux<'data, R> {
    /// Type letter, name and bytes from `_stext` of every symbol behind it, ascending. Empty if the
    /// file has no symbols.
    pub(super) fn symbols(&self, stext: VirtAddr) -> Result<Vec<(u8, String, u32)>, String> {
        let Some(table) = self.sections.iter().find(|s| s.sh_type(LE) == elf::SHT_SYMTAB) else {
            return Ok(Vec::new());
        };
        let (entries, names) = (self.entries(table)?, self.symbol_names(table)?);
        if entries.len() > MAX_SYMBOLS {
            return Err(format!("has {} symbols, more than any kernel", entries.len()));
        }
        let mut symbols: Vec<(u8, String, u32)> = entries
            .iter()
            .filter_map(|symbol| {
                let value = symbol.st_value.get(LE);
                let offset = u32::try_from(value.checked_sub(stext.0)?).ok()?;
                let name = string(names, symbol.st_name.get(LE))?;
                // Local labels are not in kallsyms either (scripts/kallsyms.c).
                let is_named = !name.is_empty() && !name.starts_with(".L");
                let letter = self.letter(symbol).filter(|_| is_named && is_mapped(value))?;
                Some((letter, name.to_owned(), offset))
            })
            .collect();
        // Global symbols come behind local ones in the file, and nm(1) sorts them the same.
        symbols.sort_by_key(|(.., offset)| *offset);
        Ok(symbols)
    }

    /// The letter that `nm` shows. `None` for symbols of sections and files.
    fn letter(&self, symbol: &Symbol) -> Option<u8> {
        let kind = symbol.st_info & 0xf;
        if kind == elf::STT_SECTION || kind == elf::STT_FILE {
            return None;
        }
        let index = symbol.st_shndx.get(LE);
        let bind = symbol.st_info >> 4;
        let letter = if index == elf::SHN_ABS {
            b'a'
        } else {
            let section = self.sections.get(usize::from(index))?;
            let has = |flag: u32| section.sh_flags(LE) & u64::from(flag) != 0;
            match () {
                () if has(elf::SHF_EXECINSTR) && bind == elf::STB_WEAK => return Some(b'W'),
                () if has(elf::SHF_EXECINSTR) => b't',
                () if section.sh_type(LE) == elf::SHT_NOBITS => b'b',
                () if has(elf::SHF_WRITE) => b'd',
                () => b'r',
            }
        };
        Some(if bind == elf::STB_LOCAL { letter } else { letter.to_ascii_uppercase() })
    }
}
