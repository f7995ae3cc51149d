use super::super::programs::programs;
use super::*;
use crate::verify::made_up::PROGRAMS;
use crate::verify::reference::BpfKsym;

/// A kernel with two programs, whose names have room for `name` bytes.
fn with(name: u64) -> Suspect {
    let suspect = Suspect::new();
    let head = image(&suspect, PROGRAMS);
    let link = |n: u64| ENTRIES + n * 0x1000 + 16 + name;
    suspect.image(PROGRAMS, &link(0).to_le_bytes());
    for (n, before, next) in [(0, head, link(1)), (1, link(0), head)] {
        suspect.own(ENTRIES + n * 0x1000, &[CODE + n * 0x100, CODE + n * 0x100 + 0x80]);
        suspect.own(ENTRIES + n * 0x1000 + 16, &[u64::from_le_bytes(*b"bpf_prog"), 0]);
        suspect.own(link(n), &[next, before]);
    }
    suspect
}

fn fit(suspect: &Suspect) -> Fit<BpfKsym> {
    programs(&state(suspect), image(suspect, PROGRAMS))
}

/// Check that the layout is found by the room for names.
#[test]
fn names_of_both_sizes() {
    for (name, lnode) in [(128, 144), (512, 528)] {
        let layout = BpfKsym { start: 0, end: 8, name: 16, lnode };
        assert_eq!(fit(&with(name)), Fit::One(layout));
    }
    let suspect = Suspect::new();
    let head = image(&suspect, PROGRAMS);
    suspect.image(PROGRAMS, &[head, head].map(u64::to_le_bytes).concat());
    assert_eq!(fit(&suspect), Fit::Empty);
}

/// Check that each contradiction leaves the layout unknown.
#[test]
fn contradictions() {
    let second = ENTRIES + 0x1000;
    let changes: [(&str, u64, u64); 6] = [
        ("a start that is not code", second, NOWHERE),
        ("an end before the start", second + 8, CODE),
        ("no name", second + 16, 0),
        ("a name that cannot be printed", second + 16, 0x1b62),
        ("a link that does not lead back", second + 144 + 8, ENTRIES),
        ("a link to nowhere", second + 144, 0),
    ];
    for (what, at, word) in changes {
        let suspect = with(128);
        put(&suspect, at, word);
        assert_eq!(fit(&suspect), Fit::Unfit(NONE), "{what}");
    }
}

/// Check that two layouts that fit are none.
#[test]
fn two_layouts() {
    let suspect = with(512);
    for n in 0..2 {
        // A name of up to 128 bytes, 528 - 144 bytes further on.
        let at = ENTRIES + n * 0x1000 + 384;
        suspect.own(at, &[CODE, CODE + 8, u64::from_le_bytes(*b"bpf_prog"), 0]);
    }
    assert_eq!(fit(&suspect), Fit::Unfit(Unfit::Several));
}
