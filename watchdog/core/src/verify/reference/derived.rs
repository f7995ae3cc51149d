//! Symbols of data that neither kallsyms nor a `vmlinux` names, derived from an image's bytes.
//!
//! Without `CONFIG_KALLSYMS_ALL`, kallsyms has the symbols of text alone (`symbol_valid` in
//! scripts/kallsyms.c). Jump labels, static calls and function entries have no section of their own
//! in an image, and variables no name. Each such table has a shape that the text confirms: every
//! entry leads to an instruction of the mechanism. The image is the vendor's, so its bytes are no
//! node's to choose.

use std::collections::BTreeMap;

use super::read::Table;
use super::{ImageSymbols, Trampoline};
use crate::image::KernelImage;

/// Fewest entries of a table. Fewer could be other data.
const MIN_ENTRIES: usize = 16;
/// Largest image; variables may lie behind the part that the file holds.
const MAX_IMAGE: u32 = 1 << 30;
/// `ud1 %esp,%ecx` behind a static call's trampoline (arch/x86/include/asm/static_call.h).
const TRAMPOLINE_MARK: [u8; 3] = [0x0f, 0xb9, 0xcc];
const NOP2: [u8; 2] = [0x66, 0x90];
const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
const CALL: u8 = 0xe8;
const JMP: u8 = 0xe9;
const JMP8: u8 = 0xeb;

/// Adds the symbols that can be derived, to `symbols` that lack data.
pub(super) fn with_derived(image: &KernelImage, symbols: &ImageSymbols) -> ImageSymbols {
    let shapes = Shapes { image, symbols, text: text_size(image) };
    let mut derived: Vec<(u8, String, u32)> = Vec::new();
    let tables: [(&str, usize, IsEntry<'_>); 3] = [
        ("__jump_table", 16, &|entry| shapes.is_jump_label(entry)),
        ("static_call_sites", 8, &|entry| shapes.static_call(entry).is_some()),
        ("mcount_loc", 8, &|entry| shapes.is_function_entry(entry)),
    ];
    for (name, size, is_entry) in tables {
        let Some((start, end)) = shapes.longest(size, is_entry) else {
            log::debug!("the image shows no table of the form of `{name}`");
            continue;
        };
        derived.push((b'D', format!("__start_{name}"), start));
        derived.push((b'D', format!("__stop_{name}"), end));
        if name == "static_call_sites" {
            derived.extend(shapes.keys(start, end));
        }
    }
    let variables = [("x86_return_thunk", shapes.return_thunk()), ("pv_ops", shapes.pv_ops())];
    for (name, found) in variables {
        derived.extend(found.map(|at| (b'D', name.to_owned(), at)));
    }
    symbols.with(derived)
}

fn text_size(image: &KernelImage) -> u32 {
    u32::try_from(image.vendor.text_size()).unwrap_or(u32::MAX)
}

/// Whether bytes are an entry of a table.
type IsEntry<'a> = &'a dyn Fn(Table<'_>) -> bool;

/// What an entry of each table looks like.
struct Shapes<'a> {
    image: &'a KernelImage,
    symbols: &'a ImageSymbols,
    text: u32,
}

impl Shapes<'_> {
    /// Start and end of the longest run of entries of `size` bytes behind the text; `None` if it is
    /// short.
    fn longest(&self, size: usize, is_entry: IsEntry<'_>) -> Option<(u32, u32)> {
        const STEP: usize = 8;
        let bytes = self.image.all();
        let first = (self.text as usize).checked_next_multiple_of(STEP)?;
        let mut best = (0_usize, 0_usize);
        // One run for each phase: a table of larger entries may begin at any step.
        for phase in 0..size.checked_div(STEP)? {
            let begin = first.checked_add(phase.checked_mul(STEP)?)?;
            let entries = bytes.get(begin..)?.chunks_exact(size);
            let mut run = 0_usize;
            for (n, entry) in entries.enumerate() {
                let at = begin.saturating_add(n.saturating_mul(size));
                let entry = Table { offset: u32::try_from(at).ok()?, bytes: entry };
                run = if is_entry(entry) { run.saturating_add(1) } else { 0 };
                if run > best.1 {
                    best = (at.saturating_add(size), run);
                }
            }
        }
        let (end, count) = best;
        let start = end.checked_sub(count.checked_mul(size)?)?;
        let is_table = count >= MIN_ENTRIES;
        u32::try_from(start).ok().zip(u32::try_from(end).ok()).filter(|_| is_table)
    }

    fn code<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.image.bytes(at, u32::try_from(N).ok()?)?.first_chunk().copied()
    }

    /// The target of the 32-bit distance that ends `length` bytes behind `at`.
    fn target(at: u32, length: u32, distance: [u8; 4]) -> Option<u32> {
        at.checked_add(length)?.checked_add_signed(i32::from_le_bytes(distance))
    }

    /// A NOP, or a jump to the entry's own target; a key outside of the text.
    fn is_jump_label(&self, entry: Table<'_>) -> bool {
        let check = || {
            let (at, target, key) = (entry.place(0)?, entry.place(4)?, entry.far_place(8)?);
            // The cold part of a function may be anywhere in the text.
            let is_code = target < self.text || self.code::<1>(target).is_some();
            let has_key = key >= self.text && key < MAX_IMAGE;
            let code: [u8; 5] = self.code(at)?;
            let leads = match code {
                [JMP8, distance, ..] => {
                    at.checked_add(2)?.checked_add_signed(i8::from_le_bytes([distance]).into())
                        == Some(target)
                }
                [JMP, a, b, c, d] => Self::target(at, 5, [a, b, c, d]) == Some(target),
                _ => code == NOP5 || code.starts_with(&NOP2),
            };
            (is_code && has_key && leads).then_some(())
        };
        check().is_some()
    }

    /// The trampoline and the key of a static call's site.
    fn static_call(&self, entry: Table<'_>) -> Option<(u32, u32)> {
        let (at, key) = (entry.place(0)?, entry.place(4)? & !3);
        let trampoline = match self.code::<6>(at)? {
            [CALL | JMP, a, b, c, d, _] => Self::target(at, 5, [a, b, c, d])?,
            [0x0f, 0x80..=0x8f, a, b, c, d] => Self::target(at, 6, [a, b, c, d])?,
            _ => return None,
        };
        let is_trampoline = self.code(trampoline.checked_add(5)?)? == TRAMPOLINE_MARK;
        (is_trampoline && key >= self.text && key < MAX_IMAGE).then_some((trampoline, key))
    }

    /// The address of a call to `__fentry__`, or of its NOP.
    fn is_function_entry(&self, entry: Table<'_>) -> bool {
        let check = || {
            let at = entry.u64(0)?.checked_sub(self.image.vendor.text_virt().0)?;
            let at = u32::try_from(at).ok()?;
            match self.code::<5>(at)? {
                NOP5 => Some(()),
                [CALL, a, b, c, d] => {
                    let target = Self::target(at, 5, [a, b, c, d]);
                    (target.is_some() && target == self.symbols.address("__fentry__")).then_some(())
                }
                _ => None,
            }
        };
        check().is_some()
    }

    /// The keys of trampolines, by the sites that call them. Without a site, the key is not known.
    fn keys(&self, start: u32, end: u32) -> Vec<(u8, String, u32)> {
        let bytes = self.image.bytes(start, end.saturating_sub(start)).unwrap_or_default();
        let sites = Table { offset: start, bytes };
        let pairs: BTreeMap<u32, u32> =
            sites.entries(8).filter_map(|entry| self.static_call(entry)).collect();
        let key = |(name, _, at): (&str, u8, u32)| {
            let name = name.strip_prefix("__SCT__")?;
            let name = format!("__SCK__{name}");
            // Some kernels name the keys all the same.
            let is_named = self.symbols.address(&name).is_some();
            let key = pairs.get(&at).copied().unwrap_or(Trampoline::UNKNOWN_KEY);
            (!is_named).then_some((b'D', name, key))
        };
        self.symbols.iter().filter_map(key).collect()
    }

    /// The variable that is linked as the address of `__x86_return_thunk`: the only such word.
    fn return_thunk(&self) -> Option<u32> {
        let thunk = self.symbols.address("__x86_return_thunk")?;
        let address = self.image.vendor.text_virt().0.checked_add(thunk.into())?.to_le_bytes();
        let first = (self.text as usize).checked_next_multiple_of(8)?;
        let words = self.image.all().get(first..)?.chunks_exact(8);
        let mut found = (0..).zip(words).filter(|(_, word)| *word == address);
        let (n, _): (usize, _) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        u32::try_from(first.checked_add(n.checked_mul(8)?)?).ok()
    }

    /// The table of paravirt functions up to 6.7, by the calls through it: each site names its
    /// slot.
    fn pv_ops(&self) -> Option<u32> {
        let section = self.image.section(".parainstructions")?;
        let sites = Table { offset: section.offset, bytes: self.image.content(section) };
        let stext = self.image.vendor.text_virt().0;
        let mut found = None;
        for site in sites.entries(16) {
            let at = u32::try_from(site.u64(0)?.checked_sub(stext)?).ok()?;
            let slot = match self.code::<7>(at)? {
                [0xff, 0x14, 0x25, a, b, c, d] => {
                    let address = i64::from(i32::from_le_bytes([a, b, c, d])).cast_unsigned();
                    u32::try_from(address.checked_sub(stext)?).ok()?
                }
                [0xff, 0x15, a, b, c, d, _] => Self::target(at, 6, [a, b, c, d])?,
                _ => return None,
            };
            let base = slot.checked_sub(u32::from(site.u8(8)?).checked_mul(8)?)?;
            if found.is_some_and(|found| found != base) {
                return None;
            }
            found = Some(base);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::made_up::{Elf, RODATA, TEXT};

    const COUNT: u32 = 20;
    const FENTRY: u32 = 0x40;
    const THUNK: u32 = 0x80;
    const FUNCTIONS: u32 = 0x100;
    const TRAMPOLINES: u32 = 0x1800;
    const LABELS: u32 = 0x4400;
    const CALLS: u32 = LABELS + COUNT * 16;
    const ENTRIES: u32 = 0x5800;
    const VARIABLE: u32 = 0x5a00;
    const KEYS: u32 = 0x6000;

    fn function(n: u32) -> u32 {
        FUNCTIONS + n * 0x40
    }

    fn trampoline(n: u32) -> u32 {
        TRAMPOLINES + n * 8
    }

    fn put(bytes: &mut Vec<u8>, at: u32, what: &[u8]) {
        let at = at as usize;
        bytes.resize(bytes.len().max(at + what.len()), 0);
        bytes[at..at + what.len()].copy_from_slice(what);
    }

    fn branch(opcode: u8, from: u32, to: u32) -> Vec<u8> {
        [&[opcode][..], &to.wrapping_sub(from + 5).to_le_bytes()].concat()
    }

    /// A kernel with functions that ftrace, a jump label and a static call rewrite. Its symbols are
    /// those of text.
    fn kernel(sites: u32) -> Elf {
        let mut elf = Elf::kernel();
        let distance = |from: u32, to: u32| to.wrapping_sub(from).to_le_bytes().to_vec();
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        let mut symbols = vec![("__fentry__".to_owned(), FENTRY)];
        symbols.push(("__x86_return_thunk".to_owned(), THUNK));
        for n in 0..COUNT {
            let text = &mut elf.section(".text").bytes;
            let at = function(n);
            put(text, at, &branch(CALL, at, FENTRY));
            put(text, at + 8, &NOP5);
            put(text, at + 16, &branch(CALL, at + 16, trampoline(n)));
            put(text, trampoline(n), &branch(JMP, trampoline(n), at));
            put(text, trampoline(n) + 5, &TRAMPOLINE_MARK);
            symbols.push((format!("__SCT__{n}"), trampoline(n)));
            entries.extend((TEXT + u64::from(at)).to_le_bytes());
            let rodata = &mut elf.section(".rodata").bytes;
            let label = LABELS + n * 16;
            let far = i64::from(KEYS) - i64::from(label + 8);
            let entry = [distance(label, at + 8), distance(label + 4, at + 32)].concat();
            put(rodata, label - 0x4000, &[entry, far.to_le_bytes().to_vec()].concat());
            if n < sites {
                let call = CALLS + n * 8;
                let entry = [distance(call, at + 16), distance(call + 4, KEYS + n * 16)].concat();
                put(rodata, call - 0x4000, &entry);
            }
        }
        put(&mut data, 0, &(TEXT + u64::from(THUNK)).to_le_bytes());
        let named: Vec<(&str, u64)> =
            symbols.iter().map(|(name, at)| (name.as_str(), TEXT + u64::from(*at))).collect();
        elf.with_section(".init.data", 1, 3, TEXT + u64::from(ENTRIES), entries)
            .with_section(".data", 1, 3, TEXT + u64::from(VARIABLE), data)
            .with_symbols(&named)
    }

    fn derived(elf: &Elf) -> ImageSymbols {
        assert_eq!(RODATA, TEXT + 0x4000);
        let image = KernelImage::lay_out(&elf.build()).unwrap();
        let symbols = ImageSymbols::of_image(&image).unwrap();
        assert!(symbols.is_sound() && !symbols.has_data());
        symbols
    }

    /// Check that tables are found by their form, with their exact bounds, and that keys and
    /// variables get their names.
    #[test]
    fn tables_by_form() {
        let symbols = derived(&kernel(COUNT));
        for (name, expected) in [
            ("__start___jump_table", LABELS),
            ("__stop___jump_table", LABELS + COUNT * 16),
            ("__start_static_call_sites", CALLS),
            ("__stop_static_call_sites", CALLS + COUNT * 8),
            ("__start_mcount_loc", ENTRIES),
            ("__stop_mcount_loc", ENTRIES + COUNT * 8),
            ("__SCK__7", KEYS + 7 * 16),
            ("x86_return_thunk", VARIABLE),
        ] {
            assert_eq!(symbols.address(name), Some(expected), "{name}");
        }
    }

    /// Check that a trampoline without a site has a key that is not known, that a short run is no
    /// table, and that of two words either of which may be the variable none is chosen.
    #[test]
    fn what_is_not_clear() {
        let symbols = derived(&kernel(COUNT - 1));
        assert_eq!(symbols.address("__SCK__19"), Some(Trampoline::UNKNOWN_KEY));
        assert_eq!(symbols.address("__SCK__18"), Some(KEYS + 18 * 16));
        let few = derived(&kernel(MIN_ENTRIES as u32 - 1));
        assert_eq!(few.address("__start_static_call_sites"), None);
        assert!(few.address("__start___jump_table").is_some());
        let mut twice = kernel(COUNT);
        twice.section(".data").bytes = (TEXT + u64::from(THUNK)).to_le_bytes().repeat(2);
        assert_eq!(derived(&twice).address("x86_return_thunk"), None);
    }
}
