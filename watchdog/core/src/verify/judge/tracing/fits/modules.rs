//! `struct module` and `struct mod_kallsyms` (include/linux/module.h, 5.10 to 7.2).
//!
//! `state`, the link and the name come first. What follows depends on the version and on more than
//! twenty options. Two places show themselves, because they contain the module's own address:
//!
//! - The memory of the text is the first of `mem` since 6.4, `core_layout` before. Both are aligned
//!   to a cache line, and begin with `base`. `mtn.mod` leads back to the module (with
//!   `MODULES_TREE_LOOKUP`, which tracing and perf select). `size` comes right behind `base`, since
//!   6.13 behind `is_rox`, and in 6.13 and 6.14 also behind `rw_copy`.
//! - `kallsyms` is followed by `core_kallsyms`, to which it leads once the module is loaded.

use super::super::super::State;
use super::super::lists::Record;
use super::fit::{Fit, is_code, is_name, linked, only};
use crate::memory::PAGE_SIZE;
use crate::verify::reference::{Module, Unfit};

const LIST: u32 = 8;
const NAME: u32 = 24;
/// The end of the name, of `MODULE_NAME_LEN` bytes.
const NAME_END: u32 = 80;
/// `MODULE_STATE_LIVE`: other modules are incomplete.
const LIVE: u32 = 0;
/// Where `core_layout` or `mem` may be, and where `kallsyms` may be.
const TEXTS: std::ops::RangeInclusive<u32> = 128..=768;
const KALLSYMS: std::ops::RangeInclusive<u32> = 200..=1992;
const CACHE_LINE: usize = 64;
/// What comes behind `base`: up to 6.3, from 6.4, in 6.13 and 6.14, and from 6.15.
const FORMS: [Form; 4] = [
    Form { size: 8, owner: 24, has_copy: false },
    Form { size: 8, owner: 16, has_copy: false },
    Form { size: 20, owner: 24, has_copy: true },
    Form { size: 12, owner: 16, has_copy: false },
];
/// Offsets in `struct mod_kallsyms`.
const SYMTAB: u32 = 0;
const NUM_SYMTAB: u32 = 8;
const STRTAB: u32 = 16;
/// Bytes of a module that hold every field that is read, and largest text of a module.
const MAX_BYTES: usize = 2048;
const MAX_TEXT: u64 = 256 << 20;

/// Offsets in the memory of a module's text.
#[derive(Clone, Copy)]
struct Form {
    /// Of `size`.
    size: u32,
    /// Of `mtn.mod`.
    owner: u32,
    /// Whether `rw_copy` comes right behind `base`.
    has_copy: bool,
}

/// The layout that fits the modules on the list at virtual address `list`.
pub(super) fn modules(state: &State<'_>, list: u64) -> Fit<Module> {
    let Some(links) = linked(state, list) else { return Fit::Unfit(Unfit::None) };
    if links.is_empty() {
        return Fit::Empty;
    }
    let loaded = links.iter().filter_map(|link| Loaded::read(state, *link));
    let loaded: Vec<Loaded> = loaded.filter(|module| module.half(0) == Some(LIVE)).collect();
    let name = |module: &Loaded| module.record.bytes(NAME..NAME_END).is_some_and(is_name);
    if loaded.is_empty() || !loaded.iter().all(name) {
        return Fit::Unfit(Unfit::None);
    }
    let texts = TEXTS.step_by(CACHE_LINE).flat_map(|at| FORMS.map(|form| (at, form)));
    let is_text = |(at, form): &(u32, Form)| {
        let is_text = |it: &Loaded| it.text(state, *at, *form) == Some(true);
        loaded.iter().all(is_text)
    };
    let size = |(at, form): (u32, Form)| Some((at, at.checked_add(form.size)?));
    let texts: Vec<(u32, u32)> = texts.filter(is_text).filter_map(size).collect();
    let is_kallsyms = |at: &u32| loaded.iter().all(|it| it.kallsyms(state, *at) == Some(true));
    let kallsyms: Vec<u32> = KALLSYMS.step_by(8).filter(is_kallsyms).collect();
    let layout = |(base, size): (u32, u32), kallsyms: u32| Module {
        list: LIST,
        name: NAME,
        base,
        size,
        kallsyms,
        symtab: SYMTAB,
        num_symtab: NUM_SYMTAB,
        strtab: STRTAB,
    };
    let pairs = texts.iter().flat_map(|text| kallsyms.iter().map(|at| layout(*text, *at)));
    only(pairs)
}

/// A module on the list.
struct Loaded {
    /// Its virtual address.
    at: u64,
    record: Record,
}

impl Loaded {
    fn read(state: &State<'_>, link: u64) -> Option<Self> {
        let at = link.checked_sub(LIST.into())?;
        Some(Self { at, record: Record::prefix(state, at, MAX_BYTES) })
    }

    /// The eight-byte field behind `by` bytes from an offset.
    fn field(&self, offset: u32, by: u32) -> Option<u64> {
        self.record.word(offset.checked_add(by)?)
    }

    /// The four-byte field at an offset.
    fn half(&self, offset: u32) -> Option<u32> {
        u32::try_from(self.record.word(offset)? & 0xffff_ffff).ok()
    }

    /// Whether the memory of the text is described at an offset. A module without text has none.
    fn text(&self, state: &State<'_>, at: u32, form: Form) -> Option<bool> {
        let base = self.field(at, 0)?;
        let size = u64::from(self.half(at.checked_add(form.size)?)?);
        let is_own = self.field(at, form.owner)? == self.at;
        // The copy is there until the module is loaded, or is the text itself.
        let copy = self.field(at, 8)?;
        let is_copy = !form.has_copy || copy == 0 || copy == base;
        // A size of 1 is a flag.
        let is_text = base.is_multiple_of(PAGE_SIZE)
            && (2..=MAX_TEXT).contains(&size)
            && is_code(state, base);
        Some(is_own && is_copy && (is_text || (base, size) == (0, 0)))
    }

    /// Whether the symbols are described at an offset.
    fn kallsyms(&self, state: &State<'_>, at: u32) -> Option<bool> {
        let behind = at.checked_add(8)?;
        let is_own = self.field(at, 0)? == self.at.checked_add(behind.into())?;
        if !is_own {
            return Some(false);
        }
        let count = self.half(behind.checked_add(NUM_SYMTAB)?)?;
        let (symbols, strings) = (self.field(behind, SYMTAB)?, self.field(behind, STRTAB)?);
        let is_there = |virt| state.at(virt, 1).is_some();
        Some(count > 0 && is_there(symbols) && is_there(strings))
    }
}
