//! The search for structures, and the fields that it finds.

#[cfg(test)]
mod tests;

use gimli::{DebugInfo, DebugInfoUnitHeadersIter, LittleEndian};

use super::sections::{Sections, Slice};
use super::unit::Unit;
use crate::btf::ANY_SIZE;

/// Bytes that one search reads: all units of a vmlinux as large as can be, and their abbreviations.
const MAX_WORK: usize = 2 << 30;
/// Bytes of one unit's abbreviations that are read. Those of kernels have up to about 10 KiB.
const MAX_ABBREVIATIONS: usize = 64 << 10;

/// The structures that are looked for, each with its fields. Dots join the fields of nested
/// structures. A kernel has one of several fields that mean the same.
pub const WANTED: [(&str, &[&str]); 8] = [
    ("ftrace_ops", &["func", "next", "trampoline", "trampoline_size"]),
    ("kprobe", &["hlist", "list", "addr", "pre_handler", "opcode"]),
    ("optimized_kprobe", &["kp", "optinsn.copied_insn", "optinsn.insn"]),
    ("bpf_ksym", &["start", "end", "name", "lnode"]),
    ("klp_ops", &["func_stack", "fops"]),
    ("klp_func", &["stack_node", "new_func"]),
    (
        "module",
        &[
            "list",
            "name",
            "kallsyms",
            "mem.base",
            "mem.size",
            "core_layout.base",
            "core_layout.size",
        ],
    ),
    ("mod_kallsyms", &["symtab", "num_symtab", "strtab"]),
];

/// The fields that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    structure: &'static str,
    path: &'static str,
    /// Bytes from the start of the structure.
    offset: u32,
    /// Its bytes; `None` for an array.
    size: Option<u64>,
}

impl Fields {
    /// Searches debug information for those structures of [`WANTED`] that `is_wanted` names.
    #[must_use]
    pub fn of(sections: &Sections<'_>, is_wanted: impl Fn(&str) -> bool) -> Self {
        let wanted = WANTED.into_iter().filter(|(structure, _)| is_wanted(structure));
        let mut search = Search { left: wanted.collect(), work: MAX_WORK, found: Vec::new() };
        let info = DebugInfo::new(sections.info, LittleEndian);
        if search.all_units(sections, info.units()).is_none() && !search.left.is_empty() {
            log::debug!("debug information: the search ended before the last unit");
        }
        for (structure, _) in search.left {
            log::debug!("debug information: no `struct {structure}`");
        }
        Self(search.found)
    }

    /// The offset of a field of `size` bytes (or of [`ANY_SIZE`]), in bytes from the start of the
    /// structure. `None` if the debug information has no such field.
    #[must_use]
    pub fn offset(&self, structure: &str, path: &str, size: u64) -> Option<u32> {
        let is_it = |field: &&Field| field.structure == structure && field.path == path;
        let field = self.0.iter().find(is_it)?;
        (size == ANY_SIZE || field.size == Some(size)).then_some(field.offset)
    }
}

/// A search through all units.
struct Search {
    /// The structures that are still missing.
    left: Vec<(&'static str, &'static [&'static str])>,
    /// Bytes that may still be read.
    work: usize,
    found: Vec<Field>,
}

impl Search {
    /// Searches every unit. `None` if the units end early: the headers are damaged, or the budget
    /// is spent.
    fn all_units(
        &mut self,
        sections: &Sections<'_>,
        mut units: DebugInfoUnitHeadersIter<Slice<'_>>,
    ) -> Option<()> {
        while let Some(header) = units.next().ok()? {
            if self.left.is_empty() {
                return Some(());
            }
            let start = header.debug_abbrev_offset().0;
            let abbreviations = sections.abbreviations.get(start..).unwrap_or_default();
            let abbreviations = abbreviations.get(..MAX_ABBREVIATIONS).unwrap_or(abbreviations);
            let cost = header.length_including_self().checked_add(abbreviations.len())?;
            self.work = self.work.checked_sub(cost)?;
            // A unit that cannot be read does not end the search.
            let _read =
                Unit::open(*sections, header, abbreviations).and_then(|unit| self.one_unit(&unit));
        }
        Some(())
    }

    /// Searches one unit, up to an entry that cannot be read.
    fn one_unit(&mut self, unit: &Unit<'_>) -> Option<()> {
        unit.structures(|entry, is_named| {
            let n = self.left.iter().position(|(structure, _)| is_named(structure))?;
            let (structure, paths) = self.left.swap_remove(n);
            for &path in paths {
                let place = unit.place(entry, path);
                let offset = place.and_then(|place| u32::try_from(place.offset).ok());
                if let Some((place, offset)) = place.zip(offset) {
                    self.found.push(Field { structure, path, offset, size: place.size });
                }
            }
            self.left.is_empty().then_some(())
        })
    }
}
