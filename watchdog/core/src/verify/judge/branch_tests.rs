//! Tests with a made-up kernel whose branches are made safe for weak processors.

use std::collections::BTreeSet;

use super::*;
use crate::locate::tests::made_up::{FIRST, LARGE, RX};
use crate::memory::Memory;
use crate::verify::made_up::{OWN, RODATA, Suspect, TEXT, add_code_symbols, branch, reference};
use crate::verify::reference::{Alternative, Reference, StaticCall};

const CALL: u8 = 0xe8;
const JMP: u8 = 0xe9;
const WRITABLE: u64 = 2;
const NONE: [u32; 0] = [];

/// Image offsets: thunks and functions, the template, and words of data.
const THUNK: u32 = 0x7000;
const THUNK_R9: u32 = 0x7010;
const ALIGNED: u32 = 0x7020;
const RETURNS: [u32; 3] = [0x7100, 0x7200, 0x7300];
const CALLED: u32 = 0x6000;
const OTHER: u32 = 0x6800;
const STUB: u32 = 0x6400;
const TEMPLATE: u32 = RODATA + 0x100;
const RETURN_THUNK: u32 = 0x50_4000;
const KEY: u32 = 0x50_4008;

/// A kernel, and its reference.
struct Case {
    suspect: Suspect,
    reference: Reference,
}

impl Case {
    fn new() -> Self {
        let mut reference = reference();
        let known: [(u32, &str); 12] = [
            (0x25, "ftrace_call"),
            (STUB, "ftrace_stub"),
            (THUNK, "__x86_indirect_thunk_rax"),
            (THUNK_R9, "__x86_indirect_thunk_r9"),
            (ALIGNED, "__x86_indirect_its_thunk_rax"),
            (RETURNS[0], "__x86_return_thunk"),
            (RETURNS[1], "call_depth_return_thunk"),
            (RETURNS[2], "its_return_thunk"),
            (TEMPLATE, "skl_call_thunk_template"),
            (TEMPLATE + 9, "skl_call_thunk_tail"),
            (RETURN_THUNK, "x86_return_thunk"),
            (KEY, "__SCK__made_up"),
        ];
        add_code_symbols(&mut reference, &known);
        reference.tables.known_symbols.return_thunk = Some(RETURN_THUNK);
        reference.tables.known_symbols.default_thunk = Some(RETURNS[0]);
        let start = (TEMPLATE - RODATA) as usize;
        reference.rodata.bytes[start..start + 9].copy_from_slice(&count(TEMPLATE));
        let case = Self { suspect: Suspect::new(), reference };
        case.returns(RETURNS[0]);
        case
    }

    /// Chooses the thunk that the kernel returns through.
    fn returns(&self, thunk: u32) {
        self.word(RETURN_THUNK, thunk);
    }

    fn word(&self, at: u32, points_to: u32) {
        let virt = FIRST.virt + u64::from(points_to);
        self.suspect.image(at, &virt.to_le_bytes());
    }

    /// Links code into the text.
    fn link(&mut self, at: u32, code: &[u8]) {
        self.reference.text.bytes[at as usize..at as usize + code.len()].copy_from_slice(code);
        self.suspect.image(at, code);
    }

    /// Judges the text, and returns the unexplained places.
    fn wrong(&self) -> Vec<u32> {
        let mut judge = TextJudge::new(Expected::of(self.reference.clone(), 0));
        self.judged(&mut judge, &(0..TEXT as usize / 4096).collect())
    }

    fn judged(&self, judge: &mut TextJudge, changed: &BTreeSet<usize>) -> Vec<u32> {
        let mut text = vec![0; TEXT as usize];
        self.suspect.machine.read(self.suspect.text().start(), &mut text).unwrap();
        for page in changed {
            judge.take_in(*page, &text[page * 4096..(page + 1) * 4096]);
        }
        let state = State::of(&self.suspect.machine, &self.suspect.kernel);
        let opinion = judge.judge(changed, &BTreeSet::new(), &state, &mut |_| None);
        opinion.wrong.iter().map(|wrong| wrong.at).collect()
    }

    /// The unexplained places with this code in memory instead.
    fn with(&self, at: u32, code: &[u8]) -> Vec<u32> {
        let mut before = vec![0; code.len()];
        let phys = self.suspect.text().start().checked_add(at.into()).unwrap();
        self.suspect.machine.read(phys, &mut before).unwrap();
        self.suspect.image(at, code);
        let wrong = self.wrong();
        self.suspect.image(at, &before);
        wrong
    }
}

/// A branch between image offsets.
fn to(opcode: u8, from: u32, target: u32) -> [u8; 5] {
    branch(opcode, from.into(), target.into())
}

/// The code that counts a call, at an image offset.
fn count(at: u32) -> [u8; 9] {
    let [a, b, c, d] = (0x60_0000_u32.wrapping_sub(at + 9)).to_le_bytes();
    [0x65, 0x48, 0xc1, 0x3d, a, b, c, d, 5]
}

/// A kernel with indirect target selection: two branches that need a thunk, and one that does not.
fn aligned() -> (Case, [u64; 2]) {
    let mut case = Case::new();
    let thunks = [OWN.0 + 0x20, OWN.0 + 0x7c];
    for (at, thunk) in [(0x05, THUNK), (0x45, THUNK_R9), (0x65, THUNK)] {
        case.link(at, &to(CALL, at, thunk));
        case.reference.tables.retpolines.push(at);
    }
    case.suspect.machine.write(thunks[0] - OWN.0 + OWN.1, &[0xff, 0xe0, 0xcc]);
    case.suspect.machine.write(thunks[1] - OWN.0 + OWN.1, &[0x41, 0xff, 0xe1, 0xcc]);
    case.suspect.branch(0x05, CALL, thunks[0]);
    case.suspect.branch(0x45, CALL, thunks[1]);
    case.suspect.image(0x65, &[0x2e, 0x2e, 0x2e, 0xff, 0xd0]);
    (case, thunks)
}

/// Check that a branch leads to its thunk exactly where it must. The thunk's bytes, place, register
/// and rights must be right.
#[test]
fn aligned_branches() {
    let (case, [first, second]) = aligned();
    let call = |at: u32, virt: u64| branch(CALL, FIRST.virt + u64::from(at), virt);
    assert_eq!(case.wrong(), NONE);
    assert_eq!(case.with(0x65, &[0xff, 0xd0, 0x0f, 0x1f, 0x00]), NONE);
    assert_eq!(case.with(0x05, &to(CALL, 0x05, ALIGNED)), NONE);
    let attacks: [(u32, &[u8]); 9] = [
        // The thunk of another register, the middle of a thunk, and no thunk.
        (0x05, &call(0x05, second)),
        (0x05, &call(0x05, first + 1)),
        (0x05, &call(0x05, OWN.0 + 0x60)),
        (0x05, &to(CALL, 0x05, OTHER)),
        (0x05, &branch(JMP, FIRST.virt + 5, first)),
        // A thunk where none is needed, and the branch of another register.
        (0x65, &call(0x65, first)),
        (0x65, &[0x2e, 0x2e, 0x2e, 0xff, 0xd1]),
        (0x65, &[0x2e, 0x2e, 0xff, 0xd0, 0x90]),
        (0x65, &[0x2e, 0x2e, 0x2e, 0xff, 0xe0]),
    ];
    for (at, code) in attacks {
        assert_eq!(case.with(at, code), [at], "{code:x?}");
    }
    // A bare branch where most have a thunk.
    let mut more = aligned().0;
    more.link(0x85, &to(CALL, 0x85, THUNK));
    more.reference.tables.retpolines.push(0x85);
    more.suspect.image(0x85, &[0x2e, 0x2e, 0x2e, 0xff, 0xd0]);
    assert_eq!(more.wrong(), [0x85]);
    // A thunk in the lower half of a cache line.
    case.suspect.machine.write(OWN.1 + 0x40, &[0xff, 0xe0, 0xcc]);
    assert_eq!(case.with(0x05, &call(0x05, OWN.0 + 0x40)), [0x05]);
    let entry = FIRST.first_entry() + 16;
    case.suspect.machine.entry(FIRST.level2(), entry, OWN.1 | RX | LARGE | WRITABLE);
    assert_eq!(case.wrong(), [0x05, 0x45]);
}

/// Check that a thunk that changes is found in the next check, although the text stays the same.
#[test]
fn a_thunk_that_changes() {
    let (case, thunks) = aligned();
    let mut judge = TextJudge::new(Expected::of(case.reference.clone(), 0));
    assert_eq!(case.judged(&mut judge, &(0..8).collect()), NONE);
    let none = BTreeSet::new();
    assert_eq!(case.judged(&mut judge, &none), NONE);
    case.suspect.machine.write(thunks[0] - OWN.0 + OWN.1, &[0xff, 0xe3]);
    assert_eq!(case.judged(&mut judge, &none), [0x05]);
}

/// Check that a kernel returns through the thunk of indirect target selection exactly where it
/// must.
#[test]
fn aligned_returns() {
    let mut case = Case::new();
    for at in [0x05, 0x25] {
        case.link(at, &to(JMP, at, RETURNS[0]));
        case.reference.tables.returns.push(at);
    }
    let plain = [0xc3, 0xcc, 0xcc, 0xcc, 0xcc];
    case.returns(RETURNS[2]);
    case.suspect.image(0x05, &to(JMP, 0x05, RETURNS[2]));
    case.suspect.image(0x25, &plain);
    assert_eq!(case.wrong(), NONE);
    assert_eq!(case.with(0x05, &plain), [0x05]);
    assert_eq!(case.with(0x25, &to(JMP, 0x25, RETURNS[2])), [0x25]);
}

/// A kernel that counts calls: a direct call, one of ftrace, a static call and three alternatives.
fn counting() -> Case {
    let mut case = Case::new();
    let entry = CALLED - 9;
    case.link(0x05, &to(CALL, 0x05, CALLED));
    case.link(0x25, &to(CALL, 0x25, STUB));
    case.link(0x45, &to(CALL, 0x45, OTHER));
    case.reference.tables.calls = vec![0x05];
    case.reference.tables.static_calls = vec![StaticCall { at: 0x45, key: KEY, tail: false }];
    case.word(KEY, CALLED);
    let replacement = TEXT + 0x1_0000;
    case.reference.replacements.offset = replacement;
    case.reference.replacements.bytes = to(CALL, replacement, CALLED).to_vec();
    for at in [0x105, 0x125, 0x145] {
        case.reference.tables.alternatives.push(Alternative {
            at,
            length: 5,
            replacement,
            replacement_length: 5,
            feature: 7,
            inverted: false,
            direct_call: false,
        });
        case.suspect.image(at, &to(CALL, at, entry));
    }
    case.returns(RETURNS[1]);
    case.suspect.image(entry, &count(entry));
    case.suspect.image(STUB - 9, &count(STUB - 9));
    case.suspect.image(0x05, &to(CALL, 0x05, entry));
    case.suspect.image(0x25, &to(CALL, 0x25, STUB - 9));
    case.suspect.image(0x45, &to(CALL, 0x45, entry));
    case
}

/// Check that calls lead to the code that counts them, that this code is the kernel's own, and that
/// the kernel counts at all.
#[test]
fn counted_calls() {
    let case = counting();
    assert_eq!(case.wrong(), NONE);
    // The tracers' stub may be called either way.
    assert_eq!(case.with(0x25, &to(CALL, 0x25, STUB)), NONE);
    let (entry, other) = (CALLED - 9, OTHER - 9);
    let attacks: [(u32, &[u8]); 11] = [
        (0x05, &to(CALL, 0x05, CALLED)),
        (0x05, &to(CALL, 0x05, other)),
        (0x05, &to(CALL, 0x05, entry + 1)),
        (0x05, &to(JMP, 0x05, entry)),
        (0x25, &to(CALL, 0x25, other)),
        (0x45, &to(CALL, 0x45, CALLED)),
        (0x45, &to(CALL, 0x45, other)),
        (0x125, &to(CALL, 0x125, other)),
        (0x125, &to(CALL, 0x125, CALLED)),
        // Code for another place counts another variable.
        (entry, &count(entry + 16)),
        (other, &[0xeb, 7]),
    ];
    for (at, code) in attacks {
        assert_eq!(case.with(at, code), [at], "{code:x?}");
    }
    case.returns(RETURNS[0]);
    let wrong = case.wrong();
    assert_eq!(wrong, [0x05, 0x25, 0x45, 0x105, 0x125, 0x145, entry, STUB - 9]);
}
