//! Tests with a made-up dispatcher.

use super::super::super::tests::{opinion_by, programs};
use super::super::super::{Mechanism, Opinion};
use crate::verify::made_up::{OWN, Suspect, branch, functions, reference};
use crate::verify::reference::{ImageSymbols, Reference, StaticCall, Trampoline};

const CALL: u8 = 0xe8;
const JMP: u8 = 0xe9;
/// Image offsets: the call and its key, and the trampoline.
const AT: u32 = 8;
const TRAMPOLINE: u32 = 0x18;
const KEY: u32 = 0x50_4000;
/// The thunk for `%rdx`.
const THUNK: u32 = 0x28;
/// The dispatcher's page, and the first program.
const CODE: u64 = OWN.0;
const PROGRAM: u64 = OWN.0 + 0x2000;

/// The reference, with a static call of this name.
fn with_static_call(name: &str) -> Reference {
    let mut reference = reference();
    reference.tables.static_calls = vec![StaticCall { at: AT, key: KEY, tail: false }];
    reference.tables.trampolines = vec![Trampoline { at: TRAMPOLINE, key: KEY }];
    let added =
        [(TRAMPOLINE, format!("__SCT__{name}")), (THUNK, "__x86_indirect_thunk_rdx".to_owned())];
    let mut symbols: Vec<_> =
        reference.symbols.iter().map(|(name, kind, at)| (kind, name.to_owned(), at)).collect();
    symbols.extend(added.map(|(at, name)| (b't', name, at)));
    symbols.sort_by_key(|(.., at)| *at);
    reference.symbols = ImageSymbols::from_ascending(symbols);
    reference
}

fn program(n: u64) -> u64 {
    PROGRAM + n * 0x100
}

/// How a dispatcher leaves to a program that it does not know.
#[derive(Clone, Copy)]
enum Leave {
    Jump,
    Fenced,
    Thunk(u32),
}

/// The code for the programs `first..=last`, at `at`, as the kernel makes it.
fn code(at: u64, first: u64, last: u64, leave: Leave) -> Vec<u8> {
    let compare = |n: u64| [&[0x48, 0x81, 0xfa], &(program(n) as u32).to_le_bytes()[..]].concat();
    if first == last {
        let mut code = compare(first);
        let [_, distance @ ..] = branch(JMP, at + 8, program(first));
        code.extend([0x0f, 0x84]);
        code.extend(distance);
        match leave {
            Leave::Jump => code.extend([0xff, 0xe2, 0xcc]),
            Leave::Fenced => code.extend([0x0f, 0xae, 0xe8, 0xff, 0xe2]),
            Leave::Thunk(thunk) => {
                let here = at + code.len() as u64;
                code.extend(branch(JMP, here, OWN.0 - (16 << 21) + u64::from(thunk)));
            }
        }
        return code;
    }
    let pivot = first + (last - first) / 2;
    let near = pivot - first > 2;
    let mut made = compare(pivot);
    let jump = made.len() + if near { 6 } else { 2 };
    let lower = code(at + jump as u64, first, pivot, leave);
    let end = at + (jump + lower.len()) as u64;
    let filling = (16 - end % 16) % 16;
    let distance = lower.len() as u64 + filling;
    if near {
        made.extend([0x0f, 0x8f]);
        made.extend((distance as u32).to_le_bytes());
    } else {
        made.extend([0x7f, distance as u8]);
    }
    made.extend(lower);
    made.extend(vec![0x90; filling as usize]);
    made.extend(code(end + filling, pivot + 1, last, leave));
    made
}

/// The opinion about a kernel whose static call `name` leads to `entry`, where `code` is.
fn opinion(name: &str, listed: u64, entry: u64, code: &[u8]) -> Opinion {
    let suspect = Suspect::new();
    let dispatcher = (CODE, CODE + 4096, "bpf_dispatcher_xdp".to_owned());
    let rest = (0..listed).map(|n| (program(n), program(n) + 0x80, format!("bpf_prog_{n}")));
    programs(&suspect, &[dispatcher].into_iter().chain(rest).collect::<Vec<_>>());
    suspect.machine.write(entry - OWN.0 + OWN.1, code);
    suspect.image(KEY, &entry.to_le_bytes());
    suspect.branch(AT, CALL, entry);
    suspect.branch(TRAMPOLINE, JMP, entry);
    opinion_by(with_static_call(name), &suspect)
}

const XDP: &str = "bpf_dispatcher_xdp_call";

/// Check that both branches into a dispatcher name all its programs, at each of its two places,
/// for every number of programs and every form of leaving.
#[test]
fn programs_are_named() {
    for entry in [CODE, CODE + 2048] {
        for count in 1..=12 {
            for leave in [Leave::Jump, Leave::Fenced, Leave::Thunk(THUNK)] {
                let found = opinion(XDP, count, entry, &code(entry, 0, count - 1, leave));
                let names: Vec<_> = (0..count).map(|n| format!("bpf_prog_{n}")).collect();
                let causes: Vec<_> =
                    found.causes.iter().map(|(it, n)| (it.mechanism, &*it.name, *n)).collect();
                assert_eq!(causes, [(Mechanism::Bpf, &*names.join(", "), 2)]);
                assert_eq!(found.wrong, []);
            }
        }
    }
}

/// Check that each of these is unexplained: another static call, another function's entry, another
/// place in the dispatcher, an unregistered program, and code that does anything else.
#[test]
fn what_is_no_dispatcher() {
    let sound = |entry| code(entry, 0, 4, Leave::Jump);
    let wrong = |found: Opinion| {
        assert_eq!(found.causes, []);
        found.wrong.into_iter().map(|wrong| wrong.why).collect::<Vec<_>>()
    };
    let outside = "a branch into a BPF program that bypasses its trampoline";
    assert_eq!(wrong(opinion("other_call", 5, CODE, &sound(CODE))), [outside; 2]);
    let middle = "a branch into the middle of a BPF dispatcher";
    assert_eq!(wrong(opinion(XDP, 5, CODE + 16, &sound(CODE + 16))), [middle; 2]);
    let unregistered = "a BPF dispatcher that leads to an unregistered program";
    assert_eq!(wrong(opinion(XDP, 4, CODE, &sound(CODE))), [unregistered; 2]);

    let other = "a branch to a BPF dispatcher with unexpected content";
    let elsewhere = code(CODE, 0, 0, Leave::Thunk(THUNK + 0x10));
    assert_eq!(wrong(opinion(XDP, 1, CODE, &elsewhere)), [other; 2]);
    let sound = code(CODE, 0, 4, Leave::Jump);
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 1;
        let found = opinion(XDP, 5, CODE, &changed);
        // Only code that never runs may change: the filling, and what is behind the last jump.
        let is_dead = matches!(sound[at], 0x90 | 0xcc);
        assert_eq!(found.wrong.is_empty(), is_dead, "at {at}: {:x}", sound[at]);
    }

    let suspect = Suspect::new();
    programs(&suspect, &[(CODE, CODE + 4096, "bpf_dispatcher_xdp".to_owned())]);
    suspect.machine.write(OWN.1, &sound);
    functions().skip(4).take(1).for_each(|at| suspect.branch(at, CALL, CODE));
    assert_eq!(wrong(opinion_by(with_static_call(XDP), &suspect)).last(), Some(&outside));
}
