//! Code by which a kernel counts calls (call depth tracking, arch/x86/kernel/callthunks.c, since
//! 6.2), against the underflow of the processor's return predictor.
//!
//! A counted call leads to the padding before the function. The padding then holds a copy of the
//! kernel's own template, which ends where the function begins. The names below are those of 6.2 to
//! 7.2.

use super::branch::decode;
use super::code::{Code, is_copy};
use super::thunks::known;
use super::{Expected, State};

const PADDING: u8 = 0x90;
/// Longest template: the padding that `patch_dest()` compares. Without `CONFIG_CALL_THUNKS_DEBUG`
/// the template is one instruction of nine bytes.
const MAX_TEMPLATE: u32 = 32;
/// Functions whose calls are never counted (`skip_addr()`), each with the bytes that belong to it.
const EXEMPT: [(&str, u32); 10] = [
    ("error_entry", 1),
    ("paranoid_entry", 1),
    ("xen_error_entry", 1),
    ("__switch_to_asm", 1),
    ("ret_from_fork", 1),
    ("start_cpu0", 1),
    ("soft_restart_cpu", 1),
    ("__fentry__", 1),
    ("relocate_kernel", 2048),
    ("hypercall_page", 4096),
];
/// Thunks that a kernel returns through while it counts calls.
const RETURN_THUNKS: [&str; 2] = ["call_depth_return_thunk", "__x86_return_skl"];

/// The code that counts a call, and the places where it may be.
#[derive(Clone, Debug)]
pub(super) struct Counting {
    template: Vec<u8>,
    /// Image offset of the template.
    at: u32,
    return_thunks: Vec<u32>,
    /// Where counted calls lead, ascending.
    entries: Vec<u32>,
}

impl Counting {
    /// Reads the template from read-only data, and finds the padding before each function; `None`
    /// for a kernel without a template. KASLR moved the kernel by `distance`.
    pub(super) fn of(expected: &Expected, distance: u64) -> Option<Self> {
        let (symbols, rodata) = (&expected.reference.symbols, &expected.rodata);
        let at = symbols.address("skl_call_thunk_template")?;
        let length = symbols.address("skl_call_thunk_tail")?.checked_sub(at)?;
        let start = at.checked_sub(rodata.offset)? as usize;
        let end = start.checked_add(length as usize)?;
        let bytes =
            rodata.bytes.get(start..end).filter(|_| (1..=MAX_TEMPLATE).contains(&length))?;
        let mut template = bytes.to_vec();
        rodata.relocations.within(at, length).apply(&mut template, at, distance);
        let return_thunks = known(symbols, &RETURN_THUNKS);
        let mut counting = Self { template, at, return_thunks, entries: Vec::new() };
        counting.entries = counting.find_entries(expected, length);
        Some(counting)
    }

    /// Bytes of the code that counts a call.
    pub(super) fn length(&self) -> usize {
        self.template.len()
    }

    /// The code that counts calls, if the kernel counts them. It then also returns through the
    /// thunk that counts. `word` reads a variable of the kernel.
    pub(super) fn in_use<'a>(
        expected: &'a Expected,
        word: impl Fn(u32) -> Option<u64>,
        state: &State<'_>,
    ) -> Option<&'a Self> {
        let counting = expected.counting.as_ref()?;
        let chosen = word(expected.reference.tables.known_symbols.return_thunk?)?;
        let thunk = state.offset_of(chosen)?;
        counting.return_thunks.contains(&thunk).then_some(counting)
    }

    /// Whether `live`, at image offset `to`, is a copy of the template.
    pub(super) fn is_copy(&self, live: &[u8], to: u32) -> bool {
        let template = Code { bytes: &self.template, at: self.at };
        live.len() == self.template.len() && is_copy(template, live, to, &mut |_, _, _| None)
    }

    /// Where a counted call of a function leads.
    pub(super) fn entry(&self, function: u32) -> Option<u32> {
        let entry = function.checked_sub(u32::try_from(self.length()).ok()?)?;
        self.entries.binary_search(&entry).is_ok().then_some(entry)
    }

    /// The function that a counted call to `entry` calls.
    pub(super) fn function(&self, entry: u32) -> Option<u32> {
        self.entries.binary_search(&entry).ok()?;
        entry.checked_add(u32::try_from(self.length()).ok()?)
    }

    /// The padding that the kernel may fill, ascending. A copy in a learned text is part of that
    /// text.
    pub(super) fn padding(&self, expected: &Expected) -> impl Iterator<Item = u32> {
        self.entries.iter().copied().filter(|at| expected.linked(*at, 1) == [PADDING])
    }

    /// The padding before each function, as linked. A text that was learned from a running kernel
    /// already holds copies.
    fn find_entries(&self, expected: &Expected, length: u32) -> Vec<u32> {
        let (tables, symbols) = (&expected.reference.tables, &expected.reference.symbols);
        let called = tables.calls.iter().filter_map(|call| {
            u32::try_from(decode(expected.linked(*call, 5), *call)?.target).ok()
        });
        let exempt = EXEMPT.map(|(name, size)| {
            let first = symbols.address(name).unwrap_or(u32::MAX);
            first..first.saturating_add(size)
        });
        let end = expected.text_size();
        let functions = called.filter(|at| *at < end).chain(symbols.functions(end));
        let functions = functions.filter(|at| !exempt.iter().any(|range| range.contains(at)));
        let mut entries: Vec<u32> = functions
            .filter_map(|function| function.checked_sub(length))
            .filter(|at| {
                let linked = expected.linked(*at, self.length());
                linked.iter().all(|byte| *byte == PADDING) || self.is_copy(linked, *at)
            })
            .filter(|at| !is_alternative(expected, *at, length))
            .collect();
        entries.sort_unstable();
        entries.dedup();
        entries
    }
}

/// Whether a place is part of an alternative.
fn is_alternative(expected: &Expected, at: u32, length: u32) -> bool {
    let alternatives = &expected.reference.tables.alternatives;
    let first = alternatives.partition_point(|entry| entry.at.saturating_add(255) < at);
    let near = alternatives.get(first..).unwrap_or_default();
    near.iter()
        .take_while(|entry| entry.at < at.saturating_add(length))
        .any(|entry| entry.at.saturating_add(entry.length.into()) > at)
}
