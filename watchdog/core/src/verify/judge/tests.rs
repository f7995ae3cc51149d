//! Tests with a made-up kernel that reports far more tracers than any real kernel has.

use std::collections::BTreeSet;

mod nameless;
mod returns;
mod static_calls;

use super::*;
use crate::memory::Memory;
use crate::verify::NotJudged;
use crate::verify::made_up::{
    FUNCTION, MODULES, OWN, PROBES, PROGRAMS, Suspect, TEXT, branch, functions, reference,
};
use crate::verify::not_judged;
use crate::verify::reference::{Layouts, Reference, Tables, Trampoline};

const CALL: u8 = 0xe8;
const INT3: u8 = 0xcc;

/// The first judgement of the suspect's text.
fn opinion(suspect: &Suspect) -> Opinion {
    opinion_by(reference(), suspect)
}

/// The first judgement of the suspect's text by this reference.
pub(super) fn opinion_by(reference: Reference, suspect: &Suspect) -> Opinion {
    let mut judge = TextJudge::new(Expected::of(reference, 0));
    let mut text = vec![0; TEXT as usize];
    suspect.machine.read(suspect.text().start(), &mut text).unwrap();
    let pages: BTreeSet<usize> = (0..TEXT as usize / 4096).collect();
    for page in &pages {
        judge.take_in(*page, &text[page * 4096..(page + 1) * 4096]);
    }
    let state = State::of(&suspect.machine, &suspect.kernel);
    judge.judge(&pages, &BTreeSet::new(), &state, &mut |_| None)
}

/// Puts programs on the suspect's list, each with its start, end and name.
pub(super) fn programs(suspect: &Suspect, programs: &[(u64, u64, String)]) {
    const RECORD: u64 = 256;
    let (head, record) = (suspect.kernel.text.virt.0 + u64::from(PROGRAMS), OWN.0 + 0x10_0000);
    let link = |n: usize| {
        let is_there = n < programs.len();
        if is_there { record + n as u64 * RECORD + 144 } else { head }
    };
    suspect.image(PROGRAMS, &link(0).to_le_bytes());
    for (n, (start, end, name)) in programs.iter().enumerate() {
        let at = record + n as u64 * RECORD;
        suspect.own(at, &[*start, *end]);
        suspect.machine.write(at + 16 - OWN.0 + OWN.1, name.as_bytes());
        suspect.own(at + 144, &[link(n + 1)]);
    }
}

/// Check that the code of a trampoline is read only once per check, even if branches enter it at
/// several places. Its programs are named in the order of its calls.
#[test]
fn a_trampoline_is_read_once() {
    let read = |entries: u64| {
        let suspect = Suspect::new();
        let code = OWN.0;
        programs(
            &suspect,
            &[
                (code, code + 4096, "bpf_trampoline_1".to_owned()),
                (code + 0x2000, code + 0x2100, "bpf_prog_b".to_owned()),
                (code + 0x3000, code + 0x3100, "bpf_prog_a".to_owned()),
            ],
        );
        for (n, to) in [0x2000, 0x3000, 0x2000].into_iter().enumerate() {
            let at = code + n as u64 * 5;
            let call = branch(CALL, at, code + to);
            suspect.machine.write(at - OWN.0 + OWN.1, &call);
        }
        for (n, at) in functions().take(8).enumerate() {
            suspect.branch(at, CALL, code + n as u64 % entries);
        }
        let before = suspect.read();
        let opinion = opinion(&suspect);
        let names: Vec<_> = opinion.causes.iter().map(|(cause, n)| (&*cause.name, *n)).collect();
        assert_eq!(names, [("bpf_prog_b, bpf_prog_a", 8)]);
        suspect.read() - before
    };
    assert_eq!(read(4), read(1));
}

/// Check that causes beyond the bound become one cause, and that no place is lost.
#[test]
fn many_probes() {
    let suspect = Suspect::new();
    let probe = |n: usize| OWN.0 + n as u64 * 64;
    for (n, at) in functions().take(300).enumerate() {
        let next = if n == 299 { 0 } else { probe(n + 1) };
        let (list, place) = (probe(n) + 16, suspect.kernel.text.virt.0 + u64::from(at + 8));
        suspect.own(probe(n), &[next, 0, list, list, place, OWN.0, 0x90]);
        suspect.image(at + 8, &[INT3]);
    }
    suspect.image(PROBES, &probe(0).to_le_bytes());
    let opinion = opinion(&suspect);
    assert_eq!(opinion.wrong, []);
    assert_eq!(opinion.causes.len(), 257);
    let (last, places) = opinion.causes.last().unwrap();
    assert_eq!((last.mechanism, last.name.as_str()), (Mechanism::Kprobe, "and 44 more"));
    assert_eq!((*places, opinion.instrumented.len()), (44, 300));
    assert!(opinion.instrumented.iter().all(|(at, ..)| at % FUNCTION == 8));
}

/// Check that names from a node's memory are shortened. One name grows because its bytes cannot be
/// printed, and one line has many names.
#[test]
fn long_names() {
    let suspect = Suspect::new();
    let code = OWN.0;
    let name = |n: u32| format!("{n:02}{}", "\u{1b}".repeat(120));
    let called = (1..200).map(|n| (code + 0x2000 + u64::from(n) * 16, name(n)));
    let called: Vec<_> = called.map(|(start, name)| (start, start + 16, name)).collect();
    let trampoline = (code, code + 4096, "bpf_trampoline_1".to_owned());
    programs(&suspect, &[vec![trampoline], called.clone()].concat());
    for (n, (start, ..)) in (0_u64..).zip(&called) {
        let at = code + n * 5;
        let call = branch(CALL, at, *start);
        suspect.machine.write(at - OWN.0 + OWN.1, &call);
    }
    suspect.branch(0, CALL, code);
    let opinion = opinion(&suspect);
    let [(cause, 1)] = &opinion.causes[..] else { panic!("{:?}", opinion.causes) };
    assert!(cause.name.len() <= 4096, "{} bytes", cause.name.len());
    let longest = cause.name.split(", ").map(str::len).max();
    assert!(longest.is_some_and(|longest| longest <= 512), "{longest:?} bytes");
}

/// Check that a module's function is named wherever the module is in the list. Check that an
/// address behind a module's end is not named.
#[test]
fn modules_by_address() {
    let suspect = Suspect::new();
    let head = suspect.kernel.text.virt.0 + u64::from(MODULES);
    let (module, symbols) = (|n: u64| OWN.0 + n * 0x100, OWN.0 + 0x1_0000);
    suspect.image(MODULES, &module(0).to_le_bytes());
    let code = OWN.0 + 0x2_0000;
    for n in 0..40 {
        let next = if n == 39 { head } else { module(n + 1) };
        suspect.own(module(n), &[next, 0]);
        suspect.machine.write(module(n) + 16 - OWN.0 + OWN.1, b"made_up");
        let base = code + ((n * 17) % 40) * 0x1000;
        suspect.own(module(n) + 72, &[base, 0x800, symbols]);
    }
    let targets = [code + 5 * 0x1000 + 0x10, code + 5 * 0x1000 + 0x900];
    suspect.own(symbols, &[symbols + 0x20, 2, symbols + 0x100]);
    suspect.own(symbols + 0x20, &[1, targets[0], 0, 1, targets[1], 0]);
    suspect.machine.write(symbols + 0x101 - OWN.0 + OWN.1, b"function");
    let probe = OWN.0 + 0x8000;
    for (n, at) in functions().take(2).enumerate() {
        let at_probe = probe + n as u64 * 64;
        let next = if n == 0 { at_probe + 64 } else { 0 };
        let (list, place) = (at_probe + 16, suspect.kernel.text.virt.0 + u64::from(at + 8));
        suspect.own(at_probe, &[next, 0, list, list, place, targets[n], 0x90]);
        suspect.image(at + 8, &[INT3]);
    }
    suspect.image(PROBES, &probe.to_le_bytes());
    let opinion = opinion(&suspect);
    let names: Vec<_> = opinion.causes.iter().map(|(cause, _)| cause.name.as_str()).collect();
    let address = format!("{:#x} at function_10+0x8", targets[1]);
    assert_eq!(names, [address.as_str(), "function [made_up] at function_0+0x8"]);
}

/// Check that a page with few changes reports each place. Check that an overwritten page reports
/// its changed sites, and one difference for all other changes.
#[test]
fn overwritten_pages() {
    let suspect = Suspect::new();
    let change = |page: u32, count: u32| {
        (0..count).for_each(|n| suspect.image(page * 4096 + 8 + n * FUNCTION, &[0x91]));
    };
    change(0, 32);
    change(1, 33);
    change(3, 200);
    suspect.image(3 * 4096, &[0x91]);
    let opinion = opinion(&suspect);
    let of_page = |page: u32| {
        let wrong = opinion.wrong.iter().filter(move |wrong| wrong.at / 4096 == page);
        wrong.map(|wrong| (wrong.at % 4096, wrong.length, wrong.mechanism)).collect::<Vec<_>>()
    };
    let single: Vec<_> = (0..32).map(|n| (8 + n * FUNCTION, 1, None)).collect();
    assert_eq!(of_page(0), single);
    assert_eq!(of_page(1), [(8, 32 * FUNCTION + 1, None)]);
    assert_eq!(of_page(2), []);
    assert_eq!(of_page(3), [(0, 5, Some(Mechanism::Fentry)), (8, 199 * FUNCTION + 1, None)]);
}

/// Check that branches at function entries are not judged if the kernel does not describe its lists
/// of tracers, and that they are unexplained if it does. Changes elsewhere are unexplained either
/// way.
#[test]
fn tracers_without_types() {
    let suspect = Suspect::new();
    functions().take(3).for_each(|at| suspect.branch(at, CALL, OWN.0));
    suspect.image(FUNCTION * 8 + 8, &[0x91]);
    let places = |opinion: &Opinion| opinion.wrong.iter().map(|wrong| wrong.at).collect::<Vec<_>>();
    let known = opinion(&suspect);
    assert_eq!(places(&known), [0, FUNCTION, 2 * FUNCTION, 8 * FUNCTION + 8]);
    assert!(known.not_judged.is_empty() && known.not_judged_places.is_empty());
    let unknown = opinion_by(Reference { layouts: Layouts::default(), ..reference() }, &suspect);
    assert_eq!(places(&unknown), [8 * FUNCTION + 8]);
    assert_eq!(unknown.not_judged_places.len(), 3);
    let list = not_judged::list(&[], &unknown.not_judged);
    let [NotJudged { mechanism, sites: 3, why }] = &list[..] else { panic!("{list:?}") };
    assert!(mechanism == "ftrace" && why.contains("type information"), "{list:?}");
}

/// Check the trampoline of a static call whose key is not known: a form that the kernel can give it
/// is not judged, and every other form is unexplained.
#[test]
fn trampoline_without_key() {
    const AT: u32 = 4 * FUNCTION + 8;
    const JMP: u8 = 0xe9;
    let trampolines = vec![Trampoline { at: AT, key: Trampoline::UNKNOWN_KEY }];
    let with = |change: &dyn Fn(&Suspect)| {
        let suspect = Suspect::new();
        change(&suspect);
        let tables = Tables { trampolines: trampolines.clone(), ..reference().tables };
        let opinion = opinion_by(Reference { tables, ..reference() }, &suspect);
        let wrong: Vec<_> = opinion.wrong.iter().map(|wrong| wrong.at).collect();
        (wrong, opinion.not_judged_places.len())
    };
    let virt = |suspect: &Suspect, at: u32| suspect.kernel.text.virt.0 + u64::from(at);
    assert_eq!(with(&|_| ()), (vec![], 0));
    let leads =
        |opcode: u8, at: u32| with(&|suspect| suspect.branch(AT, opcode, virt(suspect, at)));
    assert_eq!(leads(JMP, 9 * FUNCTION), (vec![], 1));
    assert_eq!(leads(JMP, 9 * FUNCTION + 4), (vec![AT], 0));
    assert_eq!(leads(CALL, 9 * FUNCTION), (vec![AT], 0));
    assert_eq!(with(&|suspect| suspect.branch(AT, JMP, OWN.0)), (vec![AT], 0));
}
