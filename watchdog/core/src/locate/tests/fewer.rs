//! Tests of kernels with fewer witnesses than a distribution's, on machines that differ from ours.

use std::time::Duration;

use super::made_up::*;
use crate::locate::{Finding, Kernel, Recheck, Search, VendorSign, living, locate, recheck};
use crate::memory::{PhysAddr, PhysRange, VirtAddr};

/// A made-up note of a vendor's image, and its distance from the text.
const NOTE: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0made-up build id!!!";
const NOTE_AT: u64 = 0x40_0000;

fn search() -> Search {
    let image = VendorSign::made_up(NOTE, NOTE_AT as i64, TEXT_SIZE, "6.1.0-made-up");
    Search { images: vec![image], ..Search::default() }
}

/// Wipes a witness of a kernel.
type Wipe = (&'static str, fn(&Machine));

const WIPES: [Wipe; 5] = [
    ("vmcoreinfo", |it| it.write(FIRST.note, &[0; 64])),
    ("kallsyms", |it| it.write(FIRST.tables(), &[0xff; 64])),
    ("page-tables", |it| it.entry(FIRST.level3(), 510, 0)),
    ("iomem", |it| it.write(FIRST.resource(), &[0; 32])),
    ("image", |it| it.write(FIRST.text + NOTE_AT, &[0; 64])),
];

/// Check every subset of witnesses: page tables and one that knows the size to the byte locate a
/// kernel exactly, and no other pair does.
#[test]
fn every_subset() {
    for subset in 0..32_usize {
        let machine = Machine::with(FIRST);
        machine.write(FIRST.text + NOTE_AT, NOTE);
        let has = |n: usize| subset & 1 << n != 0;
        WIPES
            .iter()
            .enumerate()
            .filter(|(n, _)| !has(*n))
            .for_each(|(_, (_, wipe))| wipe(&machine));
        let images = if has(4) { search() } else { Search::default() };
        let found = locate(&machine, &machine.ranges, &images, &mut |_, _| ()).unwrap();
        let kernel = found.iter().find_map(|finding| match finding {
            Finding::Located(kernel) => Some(kernel),
            _ => None,
        });
        let is_enough = has(2) && (has(1) || has(3) || has(4));
        assert_eq!(kernel.is_some(), is_enough, "{subset:05b}: {found:?}");
        let Some(kernel) = kernel else { continue };
        assert_eq!((kernel.text.phys, kernel.text.size), (PhysAddr(FIRST.text), TEXT_SIZE));
        assert_eq!(kernel.text.virt, VirtAddr(FIRST.virt));
        let names: Vec<_> = kernel.witnesses.iter().map(|witness| witness.name).collect();
        assert_eq!(names.len(), subset.count_ones() as usize, "{names:?}");
        assert_eq!(kernel.release, "6.1.0-made-up");
        assert!(kernel.image.end() >= PhysAddr(FIRST.text + IMAGE_SIZE));
        assert_eq!(kernel.build_id.is_some(), has(0) || has(4));
    }
}

/// Check that a kernel without CONFIG_KALLSYMS_ALL is located in every layout, with the symbols and
/// the banner that it has, and that every two witnesses that are left are enough.
#[test]
fn text_symbols_only() {
    for layout in LAYOUTS {
        let machine = Machine::with(MadeUp { layout, all_symbols: false, ..FIRST });
        let kernel = machine.kernel();
        assert_eq!((kernel.text.phys, kernel.text.size), (PhysAddr(FIRST.text), TEXT_SIZE));
        assert_eq!(kernel.witnesses.len(), 4, "{layout:?}");
        assert_eq!(kernel.banner, "Linux version 6.1.0-made-up (somebody) #1 SMP");
        let symbol = kernel.symbols.lookup(VirtAddr(FIRST.virt + 0x342)).unwrap();
        assert_eq!(symbol, ("function_3".to_owned(), 0x42));
        assert!(!kernel.pulse.is_known(), "nothing advances");
        machine.write(FIRST.note, &[0; 16]);
        machine.write(FIRST.resource(), &[0; 32]);
        assert_eq!(machine.kernel().witnesses.len(), 2);
        // Another size, within the same page, is a contradiction.
        let machine = Machine::with(MadeUp { layout, all_symbols: false, ..FIRST });
        machine.write(FIRST.resource() + 8, &(FIRST.text + TEXT_SIZE).to_le_bytes());
        assert!(machine.not_located()[0].contains("iomem says"));
    }
}

/// Check that the table of a copied kernel without CONFIG_KALLSYMS_ALL is not a second kernel's,
/// and does not make the first one lost.
#[test]
fn copies_without_data_symbols() {
    let machine = Machine::with(MadeUp { all_symbols: false, ..FIRST });
    machine.copy(FIRST.text, SECOND.text, IMAGE_SIZE);
    let found = machine.find();
    let states: Vec<_> = found.iter().map(Finding::state).collect();
    assert_eq!(states, ["located", "lost"]);
    assert!(found[1].reason().contains("no page tables map it"), "{}", found[1].reason());
}

/// Check that words which advance are found as clocks, and are signs of life.
#[test]
fn clocks_without_names() {
    let machine = Machine::with(MadeUp { all_symbols: false, ..FIRST });
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                machine.tick(FIRST, n);
                // A word that changes in another way is not a clock.
                machine.write(FIRST.jiffies() + 64, &(n * 7919 % 1000).to_le_bytes());
                std::thread::sleep(Duration::from_millis(5));
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let pulse = machine.kernel().pulse;
        assert!(pulse.is_known());
        assert_eq!(living(&machine, &[pulse], Duration::from_secs(2)), [true]);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let pulse = machine.kernel().pulse;
    assert!(!pulse.is_known());
}

/// Check that a bit of memory encryption in every entry is recognized, and that VMCOREINFO must
/// agree with it.
#[test]
fn encryption_bit() {
    for bit in [47, 51] {
        let machine = Machine::with(FIRST);
        machine.encrypt(FIRST, 1 << bit);
        let kernel = machine.kernel();
        assert_eq!((kernel.text.size, kernel.encryption), (TEXT_SIZE, 1 << bit));
        assert!(kernel.witnesses.iter().any(|it| it.says.ends_with(&format!("bit {bit}"))));
        assert_eq!(recheck(&machine, &kernel).unwrap(), Recheck::Same { findings: Vec::new() });
        let note = FIRST.note(FIRST.virt, FIRST.text, FIRST.root());
        for (mask, is_located) in [(1_u64 << bit, true), (1 << 46, false), (0, false)] {
            machine.write(FIRST.note, format!("{note}NUMBER(sme_mask)={mask}\n\0").as_bytes());
            let located = matches!(&machine.find()[0], Finding::Located(_));
            assert_eq!(located, is_located, "{mask:#x}");
        }
    }
    // An address of memory, and a bit that only some entries have, are no encryption.
    let machine = Machine::with(FIRST);
    machine.encrypt(FIRST, 1 << 40);
    machine.not_located();
    let machine = Machine::with(FIRST);
    machine.entry(FIRST.level3(), 510, FIRST.level2() | TABLE | 1 << 51);
    machine.not_located();
}

/// Check that the modules of a kernel without KASLR, which are in the walked mapping, are no
/// finding if its crash note says where they begin.
#[test]
fn modules_in_the_image_mapping() {
    let kernel = MadeUp { virt: 0xffff_ffff_8100_0000, ..FIRST };
    for (size, findings) in [(512_u64 << 20, 0), (1 << 30, 1)] {
        let machine = Machine::with(kernel);
        let note = kernel.note(kernel.virt, kernel.text, kernel.root());
        let note = format!("{note}NUMBER(KERNEL_IMAGE_SIZE)={size}\n\0");
        machine.write(kernel.note, note.as_bytes());
        machine.entry(kernel.level2(), 257, 0x1a0_0000 | TABLE);
        machine.entry(0x1a0_0000, 0, 0x140_0000 | RX);
        let found = recheck(&machine, &machine.kernel()).unwrap();
        let Recheck::Same { findings: found } = found else { panic!("{found:?}") };
        assert_eq!(found.len(), findings, "{found:?}");
    }
}

const STATE: u64 = 0x50_0300;
const INIT: u64 = 0x30_0000;

/// A kernel without write protection, which has reached this state.
fn writable(state: u32) -> Machine {
    writable_with(state, &[("Dsystem_state", STATE)])
}

fn writable_with(state: u32, data: &[(&'static str, u64)]) -> Machine {
    let machine = Machine::with(FIRST);
    let init = [("t_sinittext", INIT), ("t_einittext", INIT + 0x1_0000)];
    let init = init.iter().chain(data).copied().collect::<Vec<_>>();
    let functions = (1..1500).map(|n| (format!("tfunction_{n}"), n * 0x100));
    let more = init.into_iter().map(|(name, at)| (name.to_owned(), at)).chain(functions);
    // The padding of the new table must be zero.
    machine.write(FIRST.tables(), &vec![0; 0x2_0000]);
    machine.symbols(FIRST, more.map(|(name, at)| (name, FIRST.virt + at)));
    machine.write(FIRST.text + STATE, &state.to_le_bytes());
    let code: Vec<u8> = (0..0x1_0000_u32).map(|n| (n % 251) as u8).collect();
    machine.write(FIRST.text + INIT, &code);
    for page in 0..512 {
        machine.entry(FIRST.level1(), page, (FIRST.text + page * 4096) | (RW & !NX));
    }
    for n in 1..IMAGE_SIZE >> 21 {
        let entry = (FIRST.text + (n << 21)) | (RW & !NX) | LARGE;
        machine.entry(FIRST.level2(), FIRST.first_entry() + n, entry);
    }
    // Freed memory of the image, which is no longer mapped with page-table isolation.
    machine.entry(FIRST.level2(), FIRST.first_entry() + 2, 0);
    machine
}

/// Check that a kernel without write protection is located once its boot is over, and has a finding
/// of its own. Check that neither `system_state` alone nor freed memory alone says so.
#[test]
fn without_write_protection() {
    let booting = |machine: &Machine| matches!(machine.find()[0], Finding::Booting(_));
    let machine = writable(2);
    assert!(booting(&machine), "5.16 and later free their init memory in this state");
    machine.write(FIRST.text + INIT + 0x3000, &[0xcc; 4096]);
    assert!(booting(&machine), "freed, but not yet write-protected");
    let machine = writable(3);
    assert!(booting(&machine), "not freed");
    machine.write(FIRST.text + INIT + 0x3000, &[0xcc; 4096]);
    let kernel = machine.kernel();
    assert_eq!((kernel.text.size, kernel.is_writable), (TEXT_SIZE, true));
    let findings = |kernel: &Kernel| match recheck(&machine, kernel).unwrap() {
        Recheck::Same { findings } => findings,
        gone @ Recheck::Gone { .. } => panic!("{gone:?}"),
    };
    let found = findings(&kernel);
    assert!(found.len() == 1 && found[0].contains("rodata=off"), "{found:?}");
    // Memory beyond the image is a finding as ever.
    machine.entry(FIRST.level2(), FIRST.first_entry() + 6, 0x140_0000 | RX | LARGE);
    assert_eq!(findings(&kernel).len(), 2);
    machine.entry(FIRST.level2(), FIRST.first_entry() + 6, 0);
    // The text of a kernel that was write-protected when it was located is another matter.
    let found = findings(&Kernel { is_writable: false, ..*kernel.clone() });
    assert!(found.len() > 1 && found[0].contains("mapped writable"), "{found:?}");
    // Its mapping does not bound the text, so two witnesses must.
    machine.write(FIRST.resource(), &[0; 32]);
    assert!(machine.not_located()[0].contains("two of kallsyms"));
    // After five minutes, no page of the init memory may be left as it was freed.
    let machine = writable(3);
    machine.tick(FIRST, 1 << 32);
    assert!(machine.kernel().is_writable);
}

/// Check that a kernel without write protection and without `system_state` is located if its text
/// stays writable after it has freed its init memory.
#[test]
fn without_write_protection_or_state() {
    let machine = writable_with(0, &[]);
    assert!(matches!(machine.find()[0], Finding::Booting(_)), "not freed");
    machine.write(FIRST.text + INIT + 0x3000, &[0xcc; 4096]);
    assert!(machine.kernel().is_writable);
}

/// Check that a table is rejected if it puts the text where no kernel has it.
#[test]
fn text_at_no_kernel_address() {
    for virt in [0x20_0000, 0xffff_ffff_0000_0000, 0xffff_ffff_c000_0000] {
        let kernel = MadeUp { virt, layout: Layout::From615, all_symbols: false, ..FIRST };
        let machine = Machine::empty();
        machine.symbols(kernel, (1..1500).map(|n| (format!("tfunction_{n}"), virt + n * 0x100)));
        let table = PhysRange::with_size(PhysAddr(kernel.tables()), 0x1_0000).unwrap();
        let mut budget = crate::locate::Budget::for_memory(RAM as u64);
        assert!(crate::locate::kallsyms::find(&machine, table, &mut budget).is_none(), "{virt:#x}");
    }
}
