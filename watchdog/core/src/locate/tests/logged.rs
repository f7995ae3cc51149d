//! Tests of the log of a search: it explains why a kernel is lost, and its length is limited.

use super::made_up::*;
use crate::locate::explain::LOGGED;
use crate::logged::logged;
use crate::memory::PAGE_SIZE;
use crate::verify::{Baseline, Verifier};

/// Most lines that one search may log. Each of the five witnesses logs its candidates and a count
/// of the rest. Each text logs its witnesses, a count of the rest and the decision. Three lines are
/// about the whole search.
const MOST_LINES: usize = 5 * (LOGGED + 1) + LOGGED * 10 + 3;

fn search(machine: &Machine) -> Vec<String> {
    logged(|| drop(machine.find()))
}

fn has(lines: &[String], parts: [&str; 2]) -> bool {
    lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

/// Check that the log explains a located kernel: signs, statements of the witnesses, decision.
#[test]
fn located() {
    let lines = search(&Machine::with(FIRST));
    let count = "1 of page tables, 1 of kallsyms, 1 of iomem, 1 of vmcoreinfo, 0 of images";
    assert!(
        has(&lines, ["watchdog_core::locate::scan signs in 0x0..0x2000000", count]),
        "{lines:?}"
    );
    for witness in ["page-tables", "kallsyms", "iomem", "vmcoreinfo"] {
        assert!(has(&lines, [witness, "leads to a kernel text at 0x400000"]), "{lines:?}");
        assert!(has(&lines, ["explain text at 0x400000", &format!("{witness} says")]));
    }
    assert!(has(&lines, ["text at 0x400000: located", "2093347 bytes"]), "{lines:?}");
}

/// Check that the log names the address of a damaged witness's sign, the check that failed, and the
/// reason of the decision.
#[test]
fn damaged_witness() {
    let text = FIRST.text;
    type Damage<'a> = &'a dyn Fn(&Machine);
    let cases: [(Damage<'_>, &str, &str); 8] = [
        (&|it| it.entry(FIRST.root(), 511, 0), "page-tables: rejected 0x", "as a root does"),
        (
            &|it| (0..512).for_each(|n| it.entry(FIRST.level1(), n, (text + n * 4096) | RW)),
            "page-tables: rejected 0x",
            "has no executable page",
        ),
        (&|it| it.write(FIRST.tables() + 16, &[0xff; 8]), "kallsyms: rejected 0x", "no names"),
        (&|it| it.write(FIRST.banner(), b"Linux"), "", "located"),
        (&|it| it.write(FIRST.banner(), b"Minix"), "kallsyms: rejected 0x", "no banner is where"),
        (
            &|it| it.write(FIRST.resource() + 16, &(FIRST.virt + 8).to_le_bytes()),
            "iomem: rejected 0x",
            "its name is not",
        ),
        (&|it| it.write(FIRST.resource() + 8, &[0; 8]), "iomem: rejected 0x", "cannot be read, or"),
        (
            &|it| it.write(FIRST.note, b"OSRELEASE=6\nSYMBOL(_stext)=1\nNUMBER(phys_base)=1\n"),
            "vmcoreinfo: rejected 0x1800000",
            "_stext is not in the kernel image mapping",
        ),
    ];
    for (damage, candidate, check) in cases {
        let machine = Machine::with(FIRST);
        damage(&machine);
        let lines = search(&machine);
        assert!(has(&lines, [candidate, check]), "{candidate} {check}: {lines:#?}");
        let witnesses_left = has(&lines, ["text at 0x400000: l", ""]);
        assert!(witnesses_left, "no decision: {lines:#?}");
    }
}

/// Check that memory full of decoys of every kind logs a limited number of lines, and that
/// candidates without a line are counted.
#[test]
fn decoys_are_counted() {
    let machine = Machine::with(FIRST);
    for n in 0..500 {
        let page = 0x100_0000 + n * 2 * PAGE_SIZE;
        machine.entry(page, 510, page | TABLE);
        machine.entry(page, 511, page | TABLE);
        let text = 0x20_0000 * (n + 1);
        let note = FIRST.note(FIRST.virt, text, FIRST.root());
        machine.write(page + PAGE_SIZE, note.as_bytes());
        let resource = [text, text + TEXT_SIZE, FIRST.virt, 0x8100_0200];
        machine.write(page + PAGE_SIZE + 2048, &resource.map(u64::to_le_bytes).concat());
    }
    let lines = search(&machine);
    assert!(lines.len() <= MOST_LINES, "{} lines", lines.len());
    for kind in ["page-tables", "iomem", "vmcoreinfo"] {
        assert!(has(&lines, [kind, ": 469 more, logged at trace level"]), "{kind}: {lines:#?}");
    }
    assert!(has(&lines, ["everything is lost: the budget is spent", ""]));
    // Texts with one witness do not hide the text with all witnesses.
    assert!(has(&lines, ["text at 0x400000: ", ""]), "{lines:#?}");
    assert!(has(&lines, ["kernel texts: ", "more, logged at trace level"]));
}

/// Check that text from memory cannot break out of its log line.
#[test]
fn hostile_strings() {
    let machine = Machine::with(FIRST);
    let note = FIRST.note(FIRST.virt, FIRST.text, FIRST.root());
    machine.write(FIRST.note, note.replace("6.1.0-made-up", "6\x1b[2J.1\r\u{202e}ab").as_bytes());
    let lines = search(&machine);
    assert!(has(&lines, ["vmcoreinfo says", "\\u{1b}[2J"]), "{lines:#?}");
    assert!(lines.iter().flat_map(|line| line.chars()).all(|it| !it.is_control()));
    assert!(!lines.iter().any(|line| line.contains('\u{202e}')));
}

/// Check that the log explains a learned baseline by what the kernel lacks, and a sweep by its
/// places. A sweep with the same result as the one before logs nothing.
#[test]
fn judged() {
    let machine = Machine::with(FIRST);
    let kernel = machine.kernel();
    let mut verifier = None;
    let lines = logged(|| {
        let baseline = Baseline::learn(&machine, &kernel).unwrap();
        verifier = baseline.fits(&kernel).then(|| Verifier::new(baseline, &kernel));
    });
    for part in [
        "reference::explain reference: Linux 6.1.0-made-up, build id c0ffee: 2093347 bytes of text",
        "the kernel's symbols lack `__start___jump_table` or `__stop___jump_table`",
        "the kernel lacks: pv_ops, __fentry__",
        "reference: tables without entries: alternatives, ",
        "memory fits the kernel at 0x400000",
        "sites to judge: ",
        "patching: 0 of 5 mutexes are known",
    ] {
        assert!(has(&lines, [part, ""]), "{part}: {lines:#?}");
    }
    let mut verifier = verifier.unwrap();
    let mut sweep = || logged(|| drop(verifier.sweep(&machine, &kernel, 10).unwrap()));
    assert!(has(&sweep(), ["text at 0x400000: clean: 0 pages differ", ""]));
    assert_eq!(sweep(), Vec::<String>::new());
    (0..40).for_each(|n| machine.write(FIRST.text + 0x345 + n * 0x1000, &[0xcc]));
    let lines = sweep();
    let verdict = "text at 0x400000: tampered: 40 pages differ from the baseline; unexplained: 40";
    assert!(has(&lines, [verdict, ""]), "{lines:#?}");
    assert!(has(&lines, ["unexplained: 1 bytes at 0x400345 (function_3+0x45), no rule", ""]));
    assert!(has(&lines, ["unexplained places: 8 more", ""]), "{lines:#?}");
    assert!(has(&lines, ["40 suspects, looked at", "40 stay, 0 are left open"]), "{lines:#?}");
    assert_eq!(sweep(), Vec::<String>::new());
}
