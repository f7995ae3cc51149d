//! The padding before functions, in which a kernel may count calls.

use super::Expected;
use super::branch::decode;
use super::counting::Counting;

const PADDING: u8 = 0x90;
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

/// The places where counted calls lead: the padding before each function, as linked. A text that
/// was learned from a running kernel already holds copies of the template.
pub(super) fn entries(expected: &Expected, counting: &Counting) -> Vec<u32> {
    let length = u32::try_from(counting.length()).unwrap_or(u32::MAX);
    let (tables, symbols) = (&expected.reference.tables, &expected.reference.symbols);
    let called = tables
        .calls
        .iter()
        .filter_map(|call| u32::try_from(decode(expected.linked(*call, 5), *call)?.target).ok());
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
            let linked = expected.linked(*at, counting.length());
            linked.iter().all(|byte| *byte == PADDING) || counting.is_copy(linked, *at)
        })
        .filter(|at| !is_alternative(expected, *at, length))
        .collect();
    entries.sort_unstable();
    entries.dedup();
    entries
}

/// The padding that the kernel may fill, ascending. A copy in a learned text is part of that text.
pub(super) fn padding(expected: &Expected) -> impl Iterator<Item = u32> {
    let entries = expected.counting.iter().flat_map(Counting::entries);
    entries.filter(|at| expected.linked(*at, 1) == [PADDING])
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
