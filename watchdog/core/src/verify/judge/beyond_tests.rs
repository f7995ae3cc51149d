//! Tests at the edge of what rules know: forms of new kernels, patch tables that no rule knows, and
//! structures that a kernel does not describe.

use super::tests::opinion_by;
use super::*;
use crate::verify::made_up::{
    FUNCTION, OWN, PROBES, PROGRAMS, Suspect, TRACERS, branch, reference,
};
use crate::verify::reference::{
    ConstantKind, ImageSymbols, KnownSymbols, Layouts, ParavirtSite, Reference, RuntimeConstant,
    StaticCall, UnknownTable,
};

const CALL: u8 = 0xe8;
const JMP: u8 = 0xe9;
const INT3: u8 = 0xcc;
/// A variable of the kernel, by image offset.
const VARIABLE: u32 = 0x50_4000;
/// A site in a function, behind its entry.
const SITE: u32 = 8;

/// The unexplained places, and the number of places that are not judged.
fn places(opinion: &Opinion) -> (Vec<u32>, usize) {
    (opinion.wrong.iter().map(|wrong| wrong.at).collect(), opinion.not_judged_places.len())
}

/// Check that a call to the native `queued_spin_unlock()` may be its one instruction. Check that
/// the instruction is refused if the key names another function, for a tail call, and with other
/// bytes.
#[test]
fn inlined_static_calls() {
    let unlock = [0x3e, 0x3e, 0xc6, 0x07, 0x00];
    let judged = |key: u32, tail: bool, live: [u8; 5]| {
        let suspect = Suspect::new();
        let mut reference = reference();
        let tables = &mut reference.tables;
        tables.static_calls = vec![StaticCall { at: SITE, key: VARIABLE, tail }];
        let unlock = Some(3 * FUNCTION);
        tables.known_symbols = KnownSymbols { unlock, ..tables.known_symbols };
        let key = suspect.kernel.text.virt.0 + u64::from(key);
        suspect.image(VARIABLE, &key.to_le_bytes());
        suspect.image(SITE, &live);
        places(&opinion_by(reference, &suspect)).0
    };
    assert_eq!(judged(3 * FUNCTION, false, unlock), [0; 0]);
    assert_eq!(judged(4 * FUNCTION, false, unlock), [SITE]);
    assert_eq!(judged(3 * FUNCTION, true, unlock), [SITE]);
    assert_eq!(judged(3 * FUNCTION, false, [0x3e, 0x3e, 0xc6, 0x07, 0x01]), [SITE]);
}

/// Check that a mask is the low four bytes of its variable, at every site.
#[test]
fn runtime_masks() {
    let judged = |variable: u64, masks: [u32; 2]| {
        let suspect = Suspect::new();
        let mut reference = reference();
        reference.tables.runtime_constants = vec![RuntimeConstant {
            name: "made_up".to_owned(),
            variable: Some(VARIABLE),
            sites: vec![SITE, FUNCTION + SITE],
            kind: ConstantKind::Mask,
        }];
        suspect.image(VARIABLE, &variable.to_le_bytes());
        suspect.image(SITE, &masks[0].to_le_bytes());
        suspect.image(FUNCTION + SITE, &masks[1].to_le_bytes());
        places(&opinion_by(reference, &suspect)).0
    };
    assert_eq!(judged(0x1234_0000_00ff, [0xff, 0xff]), [0; 0]);
    assert_eq!(judged(0xff, [0xff, 0x1ff]), [FUNCTION + SITE]);
    assert_eq!(judged(0xff, [0, 0xff]), [SITE]);
}

/// Check that a changed site of an unknown table is not judged, and that a change beside it is
/// unexplained. Check that an unknown form of another rule's site is not judged only if the table
/// lists the site.
#[test]
fn unknown_tables() {
    let suspect = Suspect::new();
    let table = |sites| UnknownTable { name: "new_sites".to_owned(), sites };
    let by = |sites: &[(u32, u8)]| {
        let mut reference = reference();
        reference.tables.unknown = vec![table(sites.to_vec())];
        opinion_by(reference, &suspect)
    };
    assert_eq!(places(&by(&[(SITE, 3), (FUNCTION, 5)])), (vec![], 0));
    suspect.image(SITE, &[0x91; 3]);
    assert_eq!(places(&by(&[(SITE, 3)])), (vec![], 1));
    assert_eq!(places(&by(&[(SITE, 2)])).0, [SITE + 2]);
    suspect.image(FUNCTION, &[0x91; 5]);
    assert_eq!(places(&by(&[(SITE, 3)])), (vec![FUNCTION], 1));
    assert_eq!(places(&by(&[(SITE, 3), (FUNCTION, 5)])), (vec![], 2));
}

/// Check that one missing structure takes away only what needs it.
#[test]
fn single_structures() {
    let suspect = Suspect::new();
    suspect.branch(0, CALL, OWN.0);
    suspect.branch(FUNCTION, JMP, OWN.0);
    // A tracer and a program are registered, and no known layout fits them.
    let virt = |offset: u32| suspect.kernel.text.virt.0 + u64::from(offset);
    suspect.image(TRACERS, &OWN.0.to_le_bytes());
    suspect.own(OWN.0, &[0, virt(TRACERS + 8)]);
    let program = OWN.0 + 0x1000;
    suspect.image(PROGRAMS, &program.to_le_bytes());
    suspect.own(program, &[virt(PROGRAMS)]);
    let without = |forget: fn(&mut Reference)| {
        let mut reference = reference();
        forget(&mut reference);
        places(&opinion_by(reference, &suspect))
    };
    assert_eq!(without(|_| ()), (vec![0, FUNCTION], 0));
    assert_eq!(without(|it| it.layouts.ftrace_ops = None), (vec![FUNCTION], 1));
    assert_eq!(without(|it| it.layouts.bpf_ksym = None), (vec![], 2));
    let others: [fn(&mut Reference); 3] = [
        |it| it.layouts.kprobe = None,
        |it| it.layouts.module = None,
        |it| it.layouts.livepatch = None,
    ];
    for forget in others {
        assert_eq!(without(forget), (vec![0, FUNCTION], 0));
    }
}

/// Check that an empty list needs no layout: a branch to a target that it does not have is
/// unexplained.
#[test]
fn empty_lists_without_types() {
    let suspect = Suspect::new();
    suspect.branch(0, CALL, OWN.0);
    let judged = || {
        let layouts = Layouts::default();
        places(&opinion_by(Reference { layouts, ..reference() }, &suspect))
    };
    // The list of programs is broken.
    assert_eq!(judged(), (vec![], 1));
    let head = suspect.kernel.text.virt.0 + u64::from(PROGRAMS);
    suspect.image(PROGRAMS, &[head, head].map(u64::to_le_bytes).concat());
    assert_eq!(judged(), (vec![0], 0));
}

/// Check that a breakpoint is not judged if probes are registered and cannot be read. It must be at
/// the start of an instruction, and the kernel must have a probe at all.
#[test]
fn unreadable_probes() {
    let judged = |registered: u64, change: &[(u32, &[u8])]| {
        let suspect = Suspect::new();
        let mut reference = reference();
        reference.layouts.kprobe = None;
        suspect.image(PROBES, &registered.to_le_bytes());
        change.iter().for_each(|(at, bytes)| suspect.image(*at, bytes));
        places(&opinion_by(reference, &suspect))
    };
    assert_eq!(judged(OWN.0, &[(SITE, &[INT3])]), (vec![], 1));
    assert_eq!(judged(0, &[(SITE, &[INT3])]), (vec![SITE], 0));
    assert_eq!(judged(OWN.0, &[(SITE, &[INT3, INT3])]), (vec![SITE], 0));
    assert_eq!(judged(OWN.0, &[(SITE, &[0x91])]), (vec![SITE], 0));
    // In the middle of the call at a function's entry.
    assert_eq!(judged(OWN.0, &[(FUNCTION + 2, &[INT3])]), (vec![FUNCTION], 0));
    let jump = branch(JMP, OWN.0, OWN.0);
    assert_eq!(judged(OWN.0, &[(SITE, &jump)]), (vec![SITE], 0));
}

/// Check that a list whose symbol is missing takes away what needs it, if the kernel has such lists
/// at all: a function shows that.
#[test]
fn lists_without_symbols() {
    let suspect = Suspect::new();
    suspect.branch(0, JMP, OWN.0);
    let with = |function: &str| {
        let mut reference = reference();
        let named = reference.symbols.iter().map(|(name, kind, at)| match name {
            "bpf_kallsyms" => (kind, "other".to_owned(), at),
            "function_50" => (kind, function.to_owned(), at),
            _ => (kind, name.to_owned(), at),
        });
        let named: Vec<_> = named.collect();
        reference.symbols = ImageSymbols::from_ascending(named);
        places(&opinion_by(reference, &suspect))
    };
    assert_eq!(with("bpf_ksym_add"), (vec![], 1));
    assert_eq!(with("another"), (vec![0], 0));
}

/// A kernel up to 5.12 with these symbols for two functions, and a paravirt site in the first.
fn old_kernel(symbols: [(&str, u32); 2]) -> Reference {
    let mut reference = reference();
    let named = reference.symbols.iter().map(|(name, kind, at)| {
        let other = symbols.iter().find(|(_, of)| *of == at);
        (kind, other.map_or(name, |(name, _)| name).to_owned(), at)
    });
    let named: Vec<_> = named.collect();
    reference.symbols = ImageSymbols::from_ascending(named);
    reference.text.bytes[SITE as usize..][..3].copy_from_slice(&[0xff, 0x14, 0x25]);
    let tables = &mut reference.tables;
    tables.paravirt = vec![ParavirtSite { at: SITE, slot: 0, length: 7 }];
    tables.known_symbols.pv_ops = Some(VARIABLE);
    reference
}

/// Check that the native code of the function that `pv_ops` names is explained in a kernel that
/// writes it, with the NOPs that it may write. Check that the code of another function is not, and
/// that later kernels must not have these forms.
#[test]
fn native_paravirt_code() {
    const NATIVE: (&str, u32) = ("native_irq_disable", 3 * FUNCTION);
    let judged = |symbols, live: [u8; 7]| {
        let suspect = Suspect::new();
        let function = suspect.kernel.text.virt.0 + u64::from(NATIVE.1);
        suspect.image(VARIABLE, &function.to_le_bytes());
        suspect.image(SITE, &live);
        places(&opinion_by(old_kernel(symbols), &suspect)).0
    };
    let later = [0xfa, 0x66, 0x0f, 0x1f, 0x44, 0, 0];
    let prefixed = [0xfa, 0x66, 0x66, 0x90, 0x66, 0x66, 0x90];
    let (patcher, chooser) = (("native_patch", 0x50), ("arch_init_ideal_nops", 0x50));
    assert_eq!(judged([NATIVE, patcher], later), [0; 0]);
    assert_eq!(judged([NATIVE, chooser], later), [SITE]);
    assert_eq!(judged([NATIVE, patcher], prefixed), [SITE]);
    assert_eq!(judged([NATIVE, patcher], [0xfb, 0x66, 0x0f, 0x1f, 0x44, 0, 0]), [SITE]);
    assert_eq!(judged([("native_irq_enable", NATIVE.1), patcher], later), [SITE]);
}

/// Check that prefixed NOPs are explained at function entries of a kernel that chooses its NOPs.
#[test]
fn prefixed_nops() {
    let judged = |symbol: &str, live: [u8; 5]| {
        let suspect = Suspect::new();
        suspect.image(FUNCTION, &live);
        let mut reference = old_kernel([(symbol, 0x50), (symbol, 0x60)]);
        reference.tables.paravirt.clear();
        suspect.image(0, &reference.text.bytes[..0x10]);
        places(&opinion_by(reference, &suspect)).0
    };
    let nop = [0x66, 0x66, 0x66, 0x66, 0x90];
    assert_eq!(judged("arch_init_ideal_nops", nop), [0; 0]);
    assert_eq!(judged("other", nop), [FUNCTION]);
    assert_eq!(judged("arch_init_ideal_nops", [0x66, 0x66, 0x66, 0x66, 0x91]), [FUNCTION]);
}
