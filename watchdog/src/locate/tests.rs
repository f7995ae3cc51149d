//! The witnesses together, on a kernel made up in memory by an encoder of its own, and on what an
//! adversary would make of it.

use std::sync::RwLock;

use super::{Finding, Kernel, Recheck, locate, recheck};
use crate::memory::{Memory, PhysAddr, PhysRange, RangeSet, ReadError, VirtAddr};

const RAM: usize = 32 << 20;
const TEXT: u64 = 0x40_0000;
const VIRT: u64 = 0xffff_ffff_9260_0000;
const TEXT_SIZE: u64 = 0x1f_f123;
const RODATA: u64 = TEXT + 0x20_0000;
const BANNER: u64 = RODATA + 0x100;
const TABLES: u64 = RODATA + 0x1000;
const END: u64 = TEXT + 0x80_0000;
const ROOT: u64 = TEXT + 0x60_0000;
const LEVEL4: u64 = ROOT + 0x1000;
const LEVEL3: u64 = ROOT + 0x2000;
const LEVEL2: u64 = ROOT + 0x3000;
const LEVEL1: u64 = ROOT + 0x5000;
const NOTE: u64 = 0x180_0000;
const NX: u64 = 1 << 63;
const RX: u64 = 0x121;
const RW: u64 = 0x163 | NX;

/// Layouts of the kallsyms tables.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    To63,
    From64,
    PlaceRelative,
}

/// Memory with a made-up kernel.
struct Machine {
    bytes: RwLock<Vec<u8>>,
    ranges: RangeSet,
}

impl Memory for Machine {
    fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
        let bytes = self.bytes.read().unwrap();
        let source = usize::try_from(at.0)
            .ok()
            .and_then(|start| bytes.get(start..start.checked_add(buffer.len())?));
        let length = buffer.len() as u64;
        let outside = || ReadError::Outside { at, length, source_name: "made up".to_owned() };
        buffer.copy_from_slice(source.ok_or_else(outside)?);
        Ok(())
    }
}

impl Machine {
    fn new(layout: Layout, levels: u8) -> Self {
        let range = PhysRange::with_size(PhysAddr(0), RAM as u64).unwrap();
        let machine =
            Self { bytes: RwLock::new(vec![0; RAM]), ranges: RangeSet::from_iter([range]) };
        machine.write(BANNER, b"Linux version 6.1.0-made-up (somebody) #1 SMP\n\0");
        machine.write(NOTE, note(VIRT, TEXT, ROOT).as_bytes());
        machine.page_tables(levels);
        machine.kallsyms(layout);
        machine
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.bytes.write().unwrap()[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn entry(&self, table: u64, index: u64, value: u64) {
        self.write(table + index * 8, &value.to_le_bytes());
    }

    /// Text by 4 KiB pages, the rest of the image by one of 2 MiB each.
    fn page_tables(&self, levels: u8) {
        self.entry(ROOT, 300, 0x1000 | 0x63);
        if levels == 5 {
            self.entry(ROOT, 511, LEVEL4 | 0x67);
        } else {
            self.entry(ROOT, 511, LEVEL3 | 0x67);
        }
        self.entry(LEVEL4, 511, LEVEL3 | 0x67);
        self.entry(LEVEL3, 510, LEVEL2 | 0x63);
        self.entry(LEVEL3, 511, (LEVEL2 + 0x1000) | 0x67);
        let first = (VIRT >> 21) & 511;
        self.entry(LEVEL2, first, LEVEL1 | 0x63);
        for page in 0..512 {
            let rights = if page * 4096 < TEXT_SIZE { RX } else { RW };
            self.entry(LEVEL1, page, (TEXT + page * 4096) | rights);
        }
        for n in 1..4 {
            self.entry(LEVEL2, first + n, (TEXT + n * 0x20_0000) | RW | 0x80);
        }
    }

    /// Symbols as scripts/kallsyms.c lays them out, each letter a token of its own.
    fn kallsyms(&self, layout: Layout) {
        let mut symbols = vec![
            ("T_text".to_owned(), VIRT),
            ("T_stext".to_owned(), VIRT),
            ("T_etext".to_owned(), VIRT + TEXT_SIZE),
            ("Dlinux_banner".to_owned(), VIRT + (BANNER - TEXT)),
            ("B_end".to_owned(), VIRT + (END - TEXT)),
        ];
        symbols.extend((1..1500).map(|n| (format!("tfunction_{n}"), VIRT + n * 0x100)));
        symbols.sort_by_key(|(_, at)| *at);
        let count = symbols.len() as u32;
        let mut names = Vec::new();
        let mut markers = Vec::new();
        for (n, (name, _)) in symbols.iter().enumerate() {
            if n % 256 == 0 {
                markers.extend((names.len() as u32).to_le_bytes());
            }
            names.push(name.len() as u8);
            names.extend(name.bytes());
        }
        let mut token_table = Vec::new();
        let mut token_index = Vec::new();
        for token in 0..=255_u8 {
            token_index.extend((token_table.len() as u16).to_le_bytes());
            let printable = if token.is_ascii_graphic() { token } else { b'?' };
            token_table.extend([printable, 0]);
        }
        let mut at = TABLES;
        let mut put = |bytes: &[u8]| {
            self.write(at, bytes);
            let place = at;
            at = (at + bytes.len() as u64).next_multiple_of(8);
            place
        };
        let relative = |base: u64| -> Vec<u8> {
            let offset = |(n, (_, sym)): (usize, &(String, u64))| match layout {
                Layout::PlaceRelative => {
                    let place = base + n as u64 * 4;
                    ((sym - VIRT + TEXT) as i64 - place as i64) as i32
                }
                // CONFIG_KALLSYMS_ABSOLUTE_PERCPU.
                _ => -1 - (sym - VIRT) as i32,
            };
            symbols.iter().enumerate().flat_map(|entry| offset(entry).to_le_bytes()).collect()
        };
        if layout == Layout::To63 {
            put(&relative(0));
            put(&VIRT.to_le_bytes());
        }
        put(&count.to_le_bytes());
        put(&names);
        put(&markers);
        put(&token_table);
        let index = put(&token_index);
        if layout != Layout::To63 {
            put(&relative(index + 512));
        }
        if layout == Layout::From64 {
            put(&VIRT.to_le_bytes());
        }
    }

    fn find(&self) -> Vec<Finding> {
        locate(self, &self.ranges, &mut |_, _| ()).unwrap()
    }

    fn kernel(&self) -> Box<Kernel> {
        match self.find().remove(0) {
            Finding::Located(kernel) => kernel,
            other => panic!("{other:?}"),
        }
    }

    /// What is found when nothing may be located.
    fn not_located(&self) -> Vec<String> {
        let found = self.find();
        assert!(!found.iter().any(|found| matches!(found, Finding::Located(_))), "{found:?}");
        found.iter().map(|found| found.reason().to_owned()).collect()
    }
}

fn note(virt: u64, phys: u64, root: u64) -> String {
    let base = phys.wrapping_sub(virt - 0xffff_ffff_8000_0000).cast_signed();
    let root = root - phys + virt;
    format!(
        "OSRELEASE=6.1.0-made-up\nBUILD-ID=c0ffee\nSYMBOL(init_top_pgt)={root:x}\n\
         SYMBOL(_stext)={virt:x}\nNUMBER(phys_base)={base}\n"
    )
}

/// Check that a kernel is located to the byte in every layout and with both numbers of levels, and
/// that its symbols come with it.
#[test]
fn located_in_every_layout() {
    for layout in [Layout::To63, Layout::From64, Layout::PlaceRelative] {
        for levels in [4, 5] {
            let kernel = Machine::new(layout, levels).kernel();
            let text = kernel.text;
            assert_eq!((text.phys, text.size), (PhysAddr(TEXT), TEXT_SIZE), "{layout:?}");
            assert_eq!(text.virt, VirtAddr(VIRT));
            assert_eq!(kernel.paging_levels, levels);
            assert_eq!(kernel.page_table_root, PhysAddr(ROOT));
            assert_eq!(kernel.image.end(), PhysAddr(END));
            assert_eq!(kernel.witnesses.len(), 3);
            let (name, offset) = kernel.symbols.lookup(VirtAddr(VIRT + 0x342)).unwrap();
            assert_eq!((name.as_str(), offset), ("function_3", 0x42));
            assert_eq!(kernel.symbols.address("_etext"), Some(VirtAddr(VIRT + TEXT_SIZE)));
        }
    }
}

/// Check that two witnesses suffice when VMCOREINFO is not there, and one does not.
#[test]
fn two_witnesses_suffice() {
    let machine = Machine::new(Layout::From64, 5);
    machine.write(NOTE, &[0; 16]);
    assert_eq!(machine.kernel().witnesses.len(), 2);
    machine.entry(LEVEL3, 510, 0);
    assert!(machine.not_located()[0].contains("only kallsyms speaks"));
}

/// Check that a VMCOREINFO that contradicts the others about this text makes it lost.
#[test]
fn contradictions_make_it_lost() {
    for (forged, reason) in [
        (note(VIRT, TEXT, ROOT + 0x1000), "vmcoreinfo says the root"),
        (note(VIRT + 0x20_0000, TEXT, ROOT + 0x20_0000), "vmcoreinfo says the text is at"),
        (note(VIRT, TEXT, ROOT).replace("made-up", "other"), "the banner says"),
    ] {
        let machine = Machine::new(Layout::From64, 5);
        machine.write(NOTE, forged.as_bytes());
        let reasons = machine.not_located();
        assert!(reasons[0].contains(reason), "{reasons:?}");
    }
    let machine = Machine::new(Layout::From64, 5);
    machine.entry(LEVEL1, TEXT_SIZE / 4096, (TEXT + (TEXT_SIZE & !0xfff)) | RW);
    assert!(machine.not_located()[0].contains("kallsyms says the text has"));
}

/// Check that writable text is a kernel that is starting.
#[test]
fn writable_text_is_booting() {
    let machine = Machine::new(Layout::From64, 5);
    for page in 0..512 {
        machine.entry(LEVEL1, page, (TEXT + page * 4096) | 0x163);
    }
    assert!(machine.find().iter().any(|found| matches!(found, Finding::Booting(_))));
}

/// Check that page tables that lead to themselves end, and locate nothing.
#[test]
fn looping_page_tables_end() {
    let machine = Machine::new(Layout::From64, 5);
    for n in 0..512 {
        machine.entry(LEVEL2, n, LEVEL2 | 0x63);
    }
    machine.not_located();
}

/// Check that a second look sees a translation that leads elsewhere, and mappings that are alarms
/// by themselves.
#[test]
fn second_look() {
    let machine = Machine::new(Layout::To63, 5);
    let kernel = machine.kernel();
    assert_eq!(recheck(&machine, &kernel).unwrap(), Recheck::Same { findings: Vec::new() });

    let first = (VIRT >> 21) & 511;
    machine.entry(LEVEL2, first + 9, TEXT | RW | 0x80);
    machine.entry(LEVEL2, first + 11, 0x100_0000 | RX | 0x80);
    let Recheck::Same { findings } = recheck(&machine, &kernel).unwrap() else { panic!("gone") };
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("mapped writable") && findings[1].contains("executable"));

    machine.entry(LEVEL1, 7, 0x100_0000 | RX);
    assert!(matches!(recheck(&machine, &kernel).unwrap(), Recheck::Gone { .. }));
}

/// Check that random damage to the metadata never panics, and never yields a wrong place: 2,000
/// seeded corruptions.
#[test]
fn random_damage_is_never_a_wrong_place() {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    let mut random = StdRng::seed_from_u64(1);
    let places = [(TABLES, 60_000), (ROOT, 0x6000), (NOTE, 256), (BANNER, 64)];
    for round in 0..2000 {
        let layout = [Layout::To63, Layout::From64, Layout::PlaceRelative][round % 3];
        let machine = small(layout);
        for _ in 0..random.random_range(1..32) {
            let (start, size) = places[random.random_range(0..places.len())];
            let at = start + random.random_range(0..size);
            machine.write(at, &[random.random()]);
        }
        for found in machine.find() {
            if let Finding::Located(kernel) = found {
                let text = kernel.text;
                assert_eq!((text.phys, text.virt), (PhysAddr(TEXT), VirtAddr(VIRT)), "{round}");
                assert_eq!(text.size.div_ceil(4096), TEXT_SIZE.div_ceil(4096), "{round}");
            }
        }
    }
}

/// The made-up kernel, searched for only where its signs are: the rest of memory is empty.
fn small(layout: Layout) -> Machine {
    let mut machine = Machine::new(layout, 5);
    machine.ranges =
        [(TABLES - 0x1000, TABLES + 0x10_000), (ROOT, ROOT + 0x6000), (NOTE, NOTE + 0x1000)]
            .iter()
            .filter_map(|&(start, end)| PhysRange::new(PhysAddr(start), PhysAddr(end)))
            .collect();
    machine
}
