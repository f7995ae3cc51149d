use super::super::modules::modules;
use super::*;
use crate::verify::made_up::MODULES;
use crate::verify::reference::Module;

const STEP: u64 = 0x1000;

/// Offsets of a module's memory and of its symbols; and of the size, the flag and the module's own
/// address in that memory.
#[derive(Clone, Copy)]
struct Made {
    text: u64,
    size: u64,
    /// `is_rox`, or nothing.
    flag: Option<u64>,
    owner: u64,
    kallsyms: u64,
}

/// Debian's 6.12, 6.1 and 7.2, and 6.13 with many options.
const MADE: [Made; 4] = [
    Made { text: 320, size: 8, flag: None, owner: 16, kallsyms: 888 },
    Made { text: 320, size: 8, flag: None, owner: 24, kallsyms: 544 },
    Made { text: 320, size: 12, flag: Some(8), owner: 16, kallsyms: 904 },
    Made { text: 448, size: 20, flag: Some(16), owner: 24, kallsyms: 1264 },
];

/// A kernel with two modules, and a third that is being loaded.
fn with(made: Made) -> Suspect {
    let suspect = Suspect::new();
    let head = image(&suspect, MODULES);
    let at = |n: u64| ENTRIES + n * STEP;
    suspect.image(MODULES, &(at(0) + 8).to_le_bytes());
    let links = [(head, at(1) + 8), (at(0) + 8, at(2) + 8), (at(1) + 8, head)];
    for (n, (before, next)) in (0..).zip(links) {
        suspect.own(at(n), &[u64::from(n == 2), next, before]);
        if n == 2 {
            continue;
        }
        suspect.own(at(n) + 24, &[u64::from_le_bytes(*b"made_up\0")]);
        put(&suspect, at(n) + made.text, CODE + n * STEP);
        let size = made.text + made.size;
        let half = |at: u64, word: u32| {
            suspect.machine.write(at - OWN.0 + OWN.1, &word.to_le_bytes());
        };
        half(at(n) + size, 0x800);
        if let Some(flag) = made.flag {
            half(at(n) + made.text + flag, 1);
        }
        if (made.size, made.owner) == (8, 24) {
            // `text_size`, `ro_size` and `ro_after_init_size`.
            [12, 16, 20].into_iter().for_each(|other| half(at(n) + made.text + other, 0x400));
        }
        suspect.own(at(n) + made.text + made.owner, &[at(n)]);
        let symbols = at(n) + made.kallsyms + 8;
        suspect.own(symbols - 8, &[symbols, CODE, 7, CODE + 0x100]);
    }
    suspect
}

fn fit(suspect: &Suspect) -> Fit<Module> {
    modules(&state(suspect), image(suspect, MODULES))
}

fn layout(made: Made) -> Module {
    Module {
        list: 8,
        name: 24,
        base: made.text as u32,
        size: (made.text + made.size) as u32,
        kallsyms: made.kallsyms as u32,
        symtab: 0,
        num_symtab: 8,
        strtab: 16,
    }
}

/// Check that the layout is found by the module's own address, in every kernel.
#[test]
fn modules_of_all_layouts() {
    for made in MADE {
        assert_eq!(fit(&with(made)), Fit::One(layout(made)));
    }
    let suspect = Suspect::new();
    let head = image(&suspect, MODULES);
    suspect.image(MODULES, &[head, head].map(u64::to_le_bytes).concat());
    assert_eq!(fit(&suspect), Fit::Empty);
}

/// Check that a module without text counts, as long as another one has text at that place.
#[test]
fn modules_without_text() {
    let suspect = with(MADE[0]);
    suspect.own(ENTRIES + STEP + 320, &[0, 0]);
    assert_eq!(fit(&suspect), Fit::One(layout(MADE[0])));
}

/// Check that each contradiction leaves the layout unknown.
#[test]
fn contradictions() {
    let second = ENTRIES + STEP;
    let changes: [(&str, u64, u64); 9] = [
        ("a name that cannot be printed", second + 24, 0x1b62),
        ("a text that is not there", second + 320, NOWHERE),
        ("a text in the middle of a page", second + 320, CODE + 8),
        ("a text without bytes", second + 328, 0),
        ("the memory of another module", second + 336, ENTRIES),
        ("the symbols of another module", second + 888, ENTRIES + 896),
        ("symbols that are not there", second + 896, NOWHERE),
        ("no symbols", second + 904, 0),
        ("a link that does not lead back", second + 16, second),
    ];
    for (what, at, word) in changes {
        let suspect = with(MADE[0]);
        put(&suspect, at, word);
        assert_eq!(fit(&suspect), Fit::Unfit(NONE), "{what}");
    }
    // All modules are being loaded.
    let suspect = with(MADE[0]);
    [ENTRIES, second].into_iter().for_each(|at| put(&suspect, at, 1));
    assert_eq!(fit(&suspect), Fit::Unfit(NONE));
}

/// Check that two layouts that fit are none: two places for the symbols, two for the text.
#[test]
fn two_layouts() {
    let twice = |at: u64, words: &dyn Fn(u64) -> Vec<u64>| {
        let suspect = with(MADE[0]);
        for module in [ENTRIES, ENTRIES + STEP] {
            suspect.own(module + at, &words(module));
        }
        fit(&suspect)
    };
    let symbols = twice(1000, &|module| vec![module + 1008, CODE, 7, CODE]);
    assert_eq!(symbols, Fit::Unfit(Unfit::Several));
    let texts = twice(512, &|module| vec![CODE, 0x800, module]);
    assert_eq!(texts, Fit::Unfit(Unfit::Several));
}
