//! Tests with lists that do not end as they should.

use super::super::super::tests::opinion_by;
use super::super::super::{Mechanism, Opinion};
use super::super::lists::MAX_ENTRIES;
use crate::locate::tests::made_up::{FIRST, LARGE, RX};
use crate::verify::made_up::{MODULES, OWN, PROGRAMS, Suspect, branch, reference};
use crate::verify::reference::ImageSymbols;

const CALL: u8 = 0xe8;
/// Offset of the link in a program's record.
const LINK: u64 = 144;
/// The first link of the list, and the distance to the next one. The records overlap.
const LIST: u64 = OWN.0 + 0x20_0000;
const STEP: u64 = 16;
/// A trampoline on the list, and a target that is on no list.
const TRAMPOLINE: u64 = OWN.0;
const TARGET: u64 = OWN.0 + 0x1_0000;

/// A kernel with a list of `count` programs. The link behind the last one is `end`, or the head.
fn listed(count: u64, end: Option<u64>) -> Suspect {
    let suspect = Suspect::new();
    let head = suspect.kernel.text.virt.0 + u64::from(PROGRAMS);
    let last = end.unwrap_or(head);
    let next = (1..count).map(|n| LIST + n * STEP).chain([last]);
    let words: Vec<u64> = next.flat_map(|next| [next, 0]).collect();
    suspect.own(LIST, &words);
    let first = LIST - LINK;
    suspect.own(first, &[TRAMPOLINE, TRAMPOLINE + 0x1000]);
    suspect.machine.write(first + 16 - OWN.0 + OWN.1, b"bpf_trampoline_1\0");
    suspect.image(PROGRAMS, &LIST.to_le_bytes());
    suspect.branch(0, CALL, TRAMPOLINE);
    suspect.branch(0x10, CALL, TARGET);
    suspect
}

/// The causes, what is not judged, and what is unexplained.
fn said(opinion: &Opinion) -> [Vec<&str>; 3] {
    [
        opinion.causes.iter().map(|(cause, _)| cause.name.as_str()).collect(),
        opinion.not_judged.keys().map(|(_, why)| *why).collect(),
        opinion.wrong.iter().map(|wrong| wrong.why).collect(),
    ]
}

/// Check that a list that is longer than what is read explains what was read, and leaves other
/// branches open. A list of the longest length that is read leaves none open.
#[test]
fn a_long_list() {
    let long = MAX_ENTRIES as u64;
    let opinion = opinion_by(reference(), &listed(long, None));
    assert_eq!(
        said(&opinion),
        [vec!["bpf_trampoline_1"], vec![], vec!["a call to an unregistered target"]]
    );
    let suspect = listed(long + 1, None);
    let opinion = opinion_by(reference(), &suspect);
    let cut = "the list of BPF programs is longer than what is read";
    assert_eq!(said(&opinion), [vec!["bpf_trampoline_1"], vec![cut], vec![]]);
    assert_eq!(opinion.not_judged_places, [(0x10, 5, Mechanism::Ftrace, cut)]);

    // Nothing that is registered is in a module's own code.
    let module = OWN.0 + 0x10_0000;
    let head = suspect.kernel.text.virt.0 + u64::from(MODULES);
    suspect.image(MODULES, &module.to_le_bytes());
    suspect.own(module, &[head, 0]);
    suspect.machine.write(module + 16 - OWN.0 + OWN.1, b"made_up");
    suspect.own(module + 72, &[TARGET - 0x100, 0x800, 0]);
    let opinion = opinion_by(reference(), &suspect);
    assert_eq!(said(&opinion)[2], ["a call to an unregistered target"]);
}

/// Check that a list that loops, or that leads to no memory, is a contradiction, and that one that
/// leads to memory that the source lacks is not.
#[test]
fn lists_without_an_end() {
    let broken = "a branch to an unregistered target, and the list of BPF programs is broken";
    for end in [LIST, LIST + 2 * STEP, 0, 8, OWN.0 - (1 << 30)] {
        let opinion = opinion_by(reference(), &listed(5, Some(end)));
        assert_eq!(said(&opinion), [vec!["bpf_trampoline_1"], vec![], vec![broken]], "{end:#x}");
    }
    let suspect = listed(5, Some(OWN.0 + (8 << 21)));
    let far = 1 << 40;
    suspect.machine.entry(FIRST.level2(), FIRST.first_entry() + 24, far | RX | LARGE);
    let unreadable = "the list of BPF programs leads to memory that cannot be read";
    let opinion = opinion_by(reference(), &suspect);
    assert_eq!(said(&opinion), [vec!["bpf_trampoline_1"], vec![unreadable], vec![]]);
}

/// Check that code that can be written is never left open.
#[test]
fn writable_targets() {
    const WRITABLE: u64 = 2;
    let suspect = listed(MAX_ENTRIES as u64 + 1, None);
    let writable = OWN.0 + (8 << 21);
    let frame = OWN.1 + (3 << 21);
    let flags = RX | LARGE | WRITABLE;
    suspect.machine.entry(FIRST.level2(), FIRST.first_entry() + 24, frame | flags);
    suspect.image(0x10, &branch(CALL, FIRST.virt + 0x10, writable));
    let opinion = opinion_by(reference(), &suspect);
    assert_eq!(said(&opinion)[1..], [vec![], vec!["a call to an unregistered target"]]);
}

/// Check that no call is unexplained if the symbols do not name the list of tracers, and the kernel
/// has one.
#[test]
fn no_symbols_of_data() {
    let mut reference = reference();
    let functions = reference.symbols.iter().filter(|(_, kind, _)| *kind == b't');
    let functions: Vec<_> = functions
        .map(|(name, kind, at)| match name {
            "function_50" => (kind, "ftrace_caller".to_owned(), at),
            _ => (kind, name.to_owned(), at),
        })
        .collect();
    reference.symbols = ImageSymbols::from_ascending(functions);
    let opinion = opinion_by(reference, &listed(1, None));
    let why = "no symbol `ftrace_ops_list` (CONFIG_KALLSYMS_ALL)";
    assert_eq!(said(&opinion), [vec![], vec![why], vec![]]);
}
