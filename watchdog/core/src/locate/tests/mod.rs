//! Tests of all witnesses together, on kernels made up in memory and on manipulated ones.

mod fewer;
mod guests;
mod logged;
pub(crate) mod made_up;
mod oracles;
mod ram;

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::memory::{PhysAddr, PhysRange, VirtAddr};
use made_up::*;

/// Most bytes that a search may read in memory that is made up to slow it down: ten times the
/// machine's memory.
const MOST_READ: u64 = 10 * RAM as u64;

/// Check that a kernel is located to the byte, with its symbols, in every layout and with both
/// numbers of levels.
#[test]
fn located_in_every_layout() {
    for layout in LAYOUTS {
        for levels in [4, 5] {
            let kernel = Machine::with(MadeUp { layout, levels, ..FIRST }).kernel();
            let text = kernel.text;
            assert_eq!((text.phys, text.size), (PhysAddr(FIRST.text), TEXT_SIZE), "{layout:?}");
            assert_eq!(text.virt, VirtAddr(FIRST.virt));
            assert_eq!(kernel.paging_levels, levels);
            assert_eq!(kernel.page_table_root, PhysAddr(FIRST.root()));
            assert_eq!(kernel.image.end(), PhysAddr(FIRST.text + IMAGE_SIZE));
            let names: Vec<_> = kernel.witnesses.iter().map(|witness| witness.name).collect();
            assert_eq!(names, ["vmcoreinfo", "kallsyms", "page-tables", "iomem"]);
            let at = |offset| VirtAddr(FIRST.virt + offset);
            let (name, offset) = kernel.symbols.lookup(at(0x342)).unwrap();
            assert_eq!((name.as_str(), offset), ("function_3", 0x42));
            assert_eq!(kernel.symbols.address("_etext"), Some(at(TEXT_SIZE)));
            assert_eq!(kernel.symbols.address("none"), None);
        }
    }
}

/// Check that every witness makes the same claim when it is called alone.
#[test]
fn witnesses_alone() {
    let machine = Machine::with(FIRST);
    let mut budget = Budget::for_memory(0);
    let resource = iomem::claim(&machine, PhysAddr(FIRST.resource() + 24), &mut budget).unwrap();
    assert_eq!((resource.phys.0, resource.virt.0), (FIRST.text, FIRST.virt));
    assert_eq!(resource.size, TEXT_SIZE);
    let level3 = PhysAddr(FIRST.level3());
    let mapping = page_tables::claim(&machine, level3, &mut budget).unwrap();
    assert_eq!((mapping.tables.root.0, mapping.tables.levels), (FIRST.root(), 5));
    assert_eq!(mapping.text.size, TEXT_SIZE.next_multiple_of(4096));
    let tables = (0..1 << 20).step_by(4).map(|offset| PhysAddr(FIRST.tables() + offset));
    let mut claims =
        tables.filter_map(|at| kallsyms::claim(&machine, at, &mut Budget::for_memory(0)));
    let table = claims.next().unwrap();
    assert_eq!((table.phys.unwrap().0, table.size), (FIRST.text, TEXT_SIZE));
    let mut page = vec![0; 4096];
    crate::memory::Memory::read(&machine, PhysAddr(FIRST.note), &mut page).unwrap();
    assert_eq!(vmcoreinfo::claim(&page).unwrap().phys.0, FIRST.text);
}

/// Check that the remnant of a copied symbol table, tokens without names before them, costs little
/// of the budget. Freed memory holds many of them.
#[test]
fn remnants_cost_little() {
    let machine = Machine::with(FIRST);
    let index = kallsyms_index(&machine);
    let (before, size) = (2048, 2048 + kallsyms::INDEX_BYTES as u64);
    let end = RAM as u64 - 4096;
    machine.copy(index - before, end - size, size);
    let remnant = PhysAddr(end - size + before);
    let mut budget = Budget::for_memory(0);
    for _ in 0..5 {
        assert!(kallsyms::claim(&machine, remnant, &mut budget).is_none());
    }
    assert!(!budget.is_exhausted());
}

/// The address of a kernel's token index.
fn kallsyms_index(machine: &Machine) -> u64 {
    let is_index =
        |at: &u64| kallsyms::claim(machine, PhysAddr(*at), &mut Budget::for_memory(0)).is_some();
    (FIRST.tables()..FIRST.tables() + (1 << 20)).step_by(4).find(is_index).unwrap()
}

/// Check that the reason names the witnesses that are there, and what is missing.
#[test]
fn who_is_needed() {
    let machine = Machine::with(FIRST);
    machine.write(FIRST.note, &[0; 16]);
    assert_eq!(machine.kernel().witnesses.len(), 3);
    machine.write(FIRST.tables(), &[0xff; 64]);
    assert_eq!(machine.kernel().witnesses.len(), 2);
    machine.write(FIRST.resource(), &[0; 32]);
    assert!(machine.not_located()[0].contains("only page-tables reports"));
    let machine = Machine::with(FIRST);
    machine.entry(FIRST.level3(), 510, 0);
    assert!(machine.not_located()[0].contains("only vmcoreinfo and kallsyms and iomem report"));
    let reasons = machine.not_located();
    assert!(reasons[0].contains("page tables must map it"), "{reasons:?}");
}

/// Check that a witness that contradicts the others about this text makes it lost, even by a byte.
#[test]
fn contradictions_make_it_lost() {
    let MadeUp { virt, text, .. } = FIRST;
    for (forged, reason) in [
        (FIRST.note(virt, text, FIRST.root() + 0x1000), "vmcoreinfo says the root"),
        (FIRST.note(virt + 0x20_0000, text, FIRST.root()), "vmcoreinfo says the text is at"),
        (FIRST.note(virt, text, FIRST.root()).replace("made-up", "other"), "the banner says"),
    ] {
        let machine = Machine::with(FIRST);
        machine.write(FIRST.note, forged.as_bytes());
        let reasons = machine.not_located();
        assert!(reasons[0].contains(reason), "{reasons:?}");
    }
    let machine = Machine::with(FIRST);
    let next = TEXT_SIZE / 4096;
    machine.entry(FIRST.level1(), next, (text + next * 4096) | RW);
    assert!(machine.not_located()[0].contains("page tables say"));
    // One byte more, within the same page.
    let machine = Machine::with(FIRST);
    machine.write(FIRST.resource() + 8, &(text + TEXT_SIZE).to_le_bytes());
    assert!(machine.not_located()[0].contains("iomem says"));
}

/// Check that a note about another place does not move the kernel, and is reported.
#[test]
fn forged_note() {
    let machine = Machine::with(FIRST);
    let forged = FIRST.note(FIRST.virt, FIRST.text + 0x80_0000, FIRST.root());
    machine.write(0x190_0000, forged.as_bytes());
    let found = machine.find();
    assert_eq!(found.len(), 2);
    assert!(matches!(&found[0], Finding::Located(kernel) if kernel.text.phys.0 == FIRST.text));
    assert!(found[1].reason().contains("only vmcoreinfo reports"));
}

/// Check that a kernel is lost if its text lies in memory that was not searched (another node's).
#[test]
fn text_of_somebody_else() {
    let mut machine = Machine::with(FIRST);
    machine.ranges = [
        PhysRange::new(PhysAddr(0), PhysAddr(FIRST.text)),
        PhysRange::new(PhysAddr(FIRST.text + 0x10_0000), PhysAddr(RAM as u64)),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(machine.not_located()[0].contains("which is not in"));
}

/// Check that all kernels in memory are found, whole ones and parts.
#[test]
fn decoys_and_leftovers() {
    let machine = Machine::with(FIRST);
    machine.add(SECOND);
    let texts = |machine: &Machine| -> Vec<_> {
        machine
            .find()
            .iter()
            .map(|found| (found.state(), found.text_address().unwrap().0))
            .collect()
    };
    assert_eq!(texts(&machine), [("located", FIRST.text), ("located", SECOND.text)]);
    // The new kernel of a kexec has overwritten part of the old one.
    machine.write(SECOND.level1(), &[0x5a; 4096]);
    assert_eq!(texts(&machine), [("located", FIRST.text), ("lost", SECOND.text)]);
    // A copy, byte for byte, still names the place of its original.
    let machine = Machine::with(FIRST);
    machine.copy(FIRST.text, SECOND.text, IMAGE_SIZE);
    assert_eq!(texts(&machine), [("located", FIRST.text), ("lost", SECOND.text)]);
}

/// Check that the one of several kernels whose clock advances is found, in little time.
#[test]
fn the_living_one() {
    let machine = Machine::with(FIRST);
    machine.add(SECOND);
    let pulses: Vec<_> = machine.find().iter().map(Finding::pulse).collect();
    let patience = Duration::from_millis(400);
    assert_eq!(living(&machine, &pulses, patience), [false, false]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..6).for_each(|n| {
                std::thread::sleep(Duration::from_millis(40));
                machine.tick(SECOND, n);
            })
        });
        assert_eq!(living(&machine, &pulses, patience), [false, true]);
    });
}

/// Check that writable text means that the kernel is starting.
#[test]
fn writable_text_is_booting() {
    let machine = Machine::with(FIRST);
    for page in 0..512 {
        machine.entry(FIRST.level1(), page, (FIRST.text + page * 4096) | 0x163);
    }
    assert!(machine.find().iter().any(|found| matches!(found, Finding::Booting(_))));
}

/// Check that walks end if page tables of any level lead to themselves. Such a loop prevents
/// locating, except in the root.
#[test]
fn looping_page_tables_end() {
    for table in [FIRST.level2(), FIRST.level3(), FIRST.root()] {
        let machine = Machine::with(FIRST);
        let kernel = machine.kernel();
        for n in 0..511 {
            machine.entry(table, n, table | TABLE);
        }
        let located = machine.find().iter().any(|found| matches!(found, Finding::Located(_)));
        // Entries of the root beside the one for the image do not concern the text's place.
        assert_eq!(located, table == FIRST.root(), "{table:#x}");
        let _whatever_it_says = recheck(&machine, &kernel).unwrap();
        let read = machine.read.load(Ordering::Relaxed);
        assert!(read < MOST_READ, "{read} bytes");
    }
}

/// Check that memory full of parts that look like a kernel's makes everything lost, at limited
/// cost: a living kernel might be hidden among them.
#[test]
fn flood() {
    let machine = Machine::with(FIRST);
    let level3: Vec<u8> = [vec![0; 4080], (0x1000 | TABLE).to_le_bytes().repeat(2)].concat();
    for page in 0..1200 {
        machine.write(0x190_0000 + page * 4096, &level3);
    }
    assert!(machine.not_located().iter().all(|reason| reason.contains("hidden among decoys")));
    let read = machine.read.load(Ordering::Relaxed);
    assert!(read < MOST_READ, "{read} bytes");
}

/// Check that memory in which every other word looks like the beginning of a token index costs no
/// more than other memory.
#[test]
fn beginnings_of_indexes() {
    let machine = Machine::with(FIRST);
    let beginning = [0_u16, 2, 4, 6].map(u16::to_le_bytes).concat();
    machine.write(0x190_0000, &beginning.repeat(0x60_0000 / beginning.len()));
    machine.kernel();
    let read = machine.read.load(Ordering::Relaxed);
    assert!(read < MOST_READ, "{read} bytes");
}

/// Check that a kernel is located if its token index ends at the end of its memory.
#[test]
fn an_index_at_the_end() {
    let mut machine = Machine::with(MadeUp { layout: Layout::To63, ..FIRST });
    let end = kallsyms_index(&machine) + kallsyms::INDEX_BYTES as u64;
    let hole = PhysRange::new(PhysAddr(end), PhysAddr(end.next_multiple_of(4096)));
    machine.ranges = machine.ranges.difference(&hole.into_iter().collect());
    machine.kernel();
}

/// Check that a second walk detects a translation that leads elsewhere, and mappings that are
/// alarms by themselves, in the image mapping and elsewhere.
#[test]
fn second_look() {
    let machine = Machine::with(FIRST);
    let kernel = machine.kernel();
    let findings = || match recheck(&machine, &kernel).unwrap() {
        Recheck::Same { findings } => findings,
        gone @ Recheck::Gone { .. } => panic!("{gone:?}"),
    };
    assert_eq!(findings(), Vec::<String>::new());

    let first = FIRST.first_entry();
    machine.entry(FIRST.level2(), first + 9, FIRST.text | RW | LARGE);
    machine.entry(FIRST.level2(), first + 11, 0x100_0000 | RX | LARGE);
    let found = findings();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("mapped writable") && found[1].contains("executable"));
    machine.entry(FIRST.level2(), first + 9, 0);
    machine.entry(FIRST.level2(), first + 11, 0);

    // The direct map, at its address with five levels.
    machine.entry(FIRST.direct2(), FIRST.text >> 21, FIRST.text | RW | LARGE);
    let found = findings();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .contains("0x400000..0x600000 of the text are mapped writable at 0xff11088000400000"),
        "{found:?}"
    );
    machine.entry(FIRST.direct2(), FIRST.text >> 21, FIRST.text | (RW & !2) | LARGE);
    // A page of 1 GiB. Its user bit has no effect, because the upper levels do not grant it.
    machine.entry(FIRST.direct3(), 1, RW | USER | LARGE);
    let found = findings();
    assert!(found.iter().all(|found| found.contains("writable")) && found.len() == 1, "{found:?}");
    machine.entry(FIRST.root(), 5, FIRST.direct3() | TABLE | USER);
    machine.entry(FIRST.direct3(), 1, (RW & !2) | USER | LARGE);
    machine.entry(FIRST.direct3(), 0, 0);
    assert_eq!(findings(), Vec::<String>::new(), "an upper level without the right");

    machine.entry(FIRST.level1(), 7, 0x100_0000 | RX);
    assert!(matches!(recheck(&machine, &kernel).unwrap(), Recheck::Gone { .. }));
}

/// Check that thousands of executable stretches beyond the text give a limited number of findings,
/// the last of which counts the rest.
#[test]
fn second_look_is_bounded() {
    let machine = Machine::with(FIRST);
    let kernel = machine.kernel();
    // Tables of the image mapping behind the image; every other page is executable.
    let (first, table) = (FIRST.first_entry() + 8, 0x1a0_0000);
    for n in 0..16 {
        machine.entry(FIRST.level2(), first + n, table | TABLE);
    }
    for page in (0..512).step_by(2) {
        machine.entry(table, page, (0x100_0000 + page * 0x1000) | RX);
    }
    let Recheck::Same { findings } = recheck(&machine, &kernel).unwrap() else {
        panic!("the text is where it was");
    };
    assert_eq!(findings.len(), 65);
    assert!(findings[63].ends_with("outside the text are executable"), "{}", findings[63]);
    assert_eq!(findings[64], "4032 more stretches outside the text are executable");
}

/// Check that random damage to the metadata never causes a panic or a wrong place: 2,000 seeded
/// corruptions.
#[test]
fn random_damage_is_never_a_wrong_place() {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    let mut random = StdRng::seed_from_u64(1);
    let places = [
        (FIRST.tables(), 60_000),
        (FIRST.root(), 0x6000),
        (FIRST.note, 256),
        (FIRST.banner(), 64),
        (FIRST.resource(), 32),
    ];
    for round in 0..2000 {
        let machine = small(LAYOUTS[round % LAYOUTS.len()]);
        for _ in 0..random.random_range(1..32) {
            let (start, size) = places[random.random_range(0..places.len())];
            machine.write(start + random.random_range(0..size), &[random.random()]);
        }
        for found in machine.find() {
            if let Finding::Located(kernel) = found {
                let Text { phys, virt, size } = kernel.text;
                assert_eq!((phys.0, virt.0, size), (FIRST.text, FIRST.virt, TEXT_SIZE), "{round}");
            }
        }
    }
}

/// The made-up kernel, searched only where its signs are; the rest of memory is empty.
fn small(layout: Layout) -> Machine {
    let kernel = MadeUp { layout, ..FIRST };
    let mut machine = Machine::with(kernel);
    machine.ranges = [
        (kernel.text, kernel.text + TEXT_SIZE.next_multiple_of(4096)),
        (kernel.tables() - 0x1000, kernel.tables() + 0x1_0000),
        (kernel.resource() & !0xfff, (kernel.resource() & !0xfff) + 0x1000),
        (kernel.root(), kernel.root() + 0x6000),
        (kernel.note, kernel.note + 0x1000),
    ]
    .iter()
    .filter_map(|&(start, end)| PhysRange::new(PhysAddr(start), PhysAddr(end)))
    .collect();
    machine
}
