use super::super::super::super::Expected;
use super::super::probes::probes;
use super::*;
use crate::verify::made_up::{PROBES, reference};
use crate::verify::reference::{ImageSymbols, Kprobe};

const OPCODE: u8 = 0x55;

/// A kernel with two probes in one bucket, whose opcode is at an offset.
fn with(opcode: u64) -> Suspect {
    let suspect = Suspect::new();
    let bucket = image(&suspect, PROBES);
    suspect.image(PROBES, &ENTRIES.to_le_bytes());
    suspect.own(CODE, &[OPCODE.into()]);
    let second = ENTRIES + 0x1000;
    for (at, next, before) in [(ENTRIES, second, bucket), (second, 0, ENTRIES)] {
        suspect.own(at, &[next, before, at + 16, at + 16, 0, image(&suspect, 0x20)]);
        suspect.own(at + 64, &[CODE]);
        suspect.own(at + opcode, &[OPCODE.into(), CODE]);
    }
    suspect
}

/// The layout by a kernel with these functions.
fn fit(suspect: &Suspect, functions: &[&str]) -> Fit<Kprobe> {
    let mut reference = reference();
    let mut others = functions.iter();
    let named = reference.symbols.iter().map(|(name, kind, at)| {
        let other = name.starts_with("function_").then(|| others.next()).flatten();
        (kind, other.map_or(name, |other| other).to_owned(), at)
    });
    let named: Vec<_> = named.collect();
    reference.symbols = ImageSymbols::from_ascending(named);
    let expected = Expected::of(reference, 0);
    probes(&expected, &state(suspect), &[(image(suspect, PROBES), ENTRIES)])
}

/// Check the layouts of Debian's kernels since 5.14, of 5.13 and of 5.10, with and without
/// optimised probes.
#[test]
fn versions_and_options() {
    let layout = |opcode, optimized| {
        Fit::One(Kprobe { hlist: 0, list: 16, addr: 40, pre_handler: 64, opcode, optimized })
    };
    const OPTIMIZED: &str = "optprobe_template_entry";
    const EMULATED: &str = "kprobe_emulate_call";
    const FAULT: &str = "aggr_fault_handler";
    let (new, old) = (with(80), with(88));
    assert_eq!(fit(&new, &[EMULATED, OPTIMIZED]), layout(80, Some((144, 152))));
    assert_eq!(fit(&new, &[EMULATED]), layout(80, None));
    assert_eq!(fit(&old, &[EMULATED, FAULT, OPTIMIZED]), layout(88, Some((152, 160))));
    assert_eq!(fit(&old, &[FAULT, OPTIMIZED]), layout(88, Some((136, 144))));
    // By the wrong layout, the opcode is not the first byte of the copy.
    assert_eq!(fit(&old, &[EMULATED]), Fit::Unfit(NONE));
    assert_eq!(fit(&new, &[FAULT]), Fit::Unfit(NONE));
    let expected = Expected::of(reference(), 0);
    assert_eq!(probes(&expected, &state(&new), &[]), Fit::Empty);
}

/// Check that each contradiction leaves the layout unknown.
#[test]
fn contradictions() {
    let second = ENTRIES + 0x1000;
    let changes: [(&str, u64, u64); 7] = [
        ("a link that does not lead back", second + 8, second),
        ("a list that does not lead back", second + 16, ENTRIES + 16),
        ("a place that is not code", second + 40, NOWHERE),
        ("a handler that is not code", second + 64, NOWHERE),
        ("another opcode", second + 80, 0x90),
        ("a copy that is not there", second + 88, NOWHERE),
        ("a probe that is not there", ENTRIES, NOWHERE),
    ];
    assert!(matches!(fit(&with(80), &[]), Fit::One(_)));
    for (what, at, word) in changes {
        let suspect = with(80);
        put(&suspect, at, word);
        assert_eq!(fit(&suspect, &[]), Fit::Unfit(NONE), "{what}");
    }
}

/// Check that a probe without handler, and one at a function's entry, fit.
#[test]
fn bare_probes() {
    let suspect = with(80);
    put(&suspect, ENTRIES + 64, 0);
    suspect.own(ENTRIES + 80, &[0, 0]);
    assert!(matches!(fit(&suspect, &[]), Fit::One(_)));
}
