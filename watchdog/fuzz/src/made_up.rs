//! A kernel made up in a kilobyte: as small as one can be and be located.

use crate::Encoder;

const TEXT: u64 = 0x40_0000;
const VIRT: u64 = 0xffff_ffff_9260_0000;
const TEXT_SIZE: u64 = 0x7123;
/// Far enough behind the text for a hole there not to be one in what is read of the tables.
const RODATA: u64 = TEXT + 0x8_0000;
const BANNER: u64 = RODATA + 0x100;
const NAME: u64 = RODATA + 0x200;
const RESOURCE: u64 = RODATA + 0x300;
const TABLES: u64 = RODATA + 0x1000;
const ROOT: u64 = RODATA + 0x1_0000;
const LEVEL4: u64 = ROOT + 0x1000;
const LEVEL3: u64 = ROOT + 0x2000;
const LEVEL2: u64 = ROOT + 0x3000;
const FIXMAP: u64 = ROOT + 0x4000;
const LEVEL1: u64 = ROOT + 0x5000;
const MANY: u64 = 0x400_0000;
const NOTE: u64 = ROOT + 0x6000;
const END: u64 = TEXT + 0x60_0000;
const TABLE: u64 = 0x63;
const RX: u64 = 0x121;
const RW: u64 = 0x163 | (1 << 63);
const LARGE: u64 = 0x80;
const PAGE: u64 = 0x1000;

/// Functions beside the symbols with a part to play.
const FUNCTIONS: u64 = 1000;
/// Bytes from one function to the next.
const FUNCTION: u64 = 0x10;

/// How kallsyms' tables are laid out (scripts/kallsyms.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// To 6.3: offsets and relative base in front.
    To63,
    /// From 6.4: behind the token index.
    From64,
    /// 7.x: behind the token index, each offset from its own place.
    PlaceRelative,
}

/// The seeds, each with a name that, for most, begins with what is found in it.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, input: Encoder| seeds.push((name.to_owned(), input.finish()));
    for (name, layout) in [
        ("to-6.3", Layout::To63),
        ("from-6.4", Layout::From64),
        ("place-relative", Layout::PlaceRelative),
    ] {
        for levels in [4, 5] {
            add(&format!("located-made-up-{name}-{levels}-levels"), kernel(layout, levels));
        }
    }
    for (name, adversity) in ADVERSITIES {
        let mut input = kernel(Layout::From64, 5);
        adversity(&mut input);
        add(name, input);
    }
    seeds
}

/// A seed's name, and what befalls a made-up kernel in it.
type Adversity = (&'static str, fn(&mut Encoder));

const ADVERSITIES: [Adversity; 16] = [
    ("booting-writable-text", |input| input.ramp(LEVEL1, 512, 8, TEXT | 0x163, PAGE)),
    ("looping-page-tables", |input| input.ramp(LEVEL2, 512, 8, LEVEL2 | TABLE, 0)),
    ("lost-hole-in-page-tables", |input| input.hole(LEVEL1, PAGE)),
    ("lost-forged-note", |input| input.bytes(NOTE, note(VIRT + 0x20_0000).as_bytes())),
    ("lost-other-text-size", |input| input.table(LEVEL1 + 7 * 8, &[(TEXT + 7 * PAGE) | RW])),
    ("lost-hole-in-text", |input| input.hole(TEXT + PAGE, PAGE)),
    // Each index makes a witness look for names in all memory below it.
    ("slow-many-token-indexes", |input| {
        (0..4).for_each(|n| tokens(input, MANY + n * 1024));
        input.pages(MANY + PAGE, 63, MANY);
    }),
    // Each pair may be two markers, with half a megabyte of names before them.
    ("slow-many-markers", |input| {
        input.repeat(MANY - 0x4_0000, 0x8000, &[0, 0, 0, 0, 0, 1, 0, 0]);
        tokens(input, MANY);
    }),
    ("many-roots-that-change", |input| {
        input.pages(NOTE + PAGE, 40, LEVEL3);
        input.change(30, LEVEL3 + 510 * 8 + 1, 0);
    }),
    ("lost-no-resource", |input| input.bytes(NAME, b"Kernel data")),
    ("lost-other-resource-size", |input| input.table(RESOURCE + 8, &[TEXT + TEXT_SIZE])),
    // Each resource makes a witness look for its name in a gibibyte.
    ("lost-many-resources", |input| {
        let resource = [TEXT, TEXT + TEXT_SIZE - 1, VIRT + 0x1234, 0x8100_0200];
        input.repeat(MANY, 1200, &resource.map(u64::to_le_bytes).concat());
    }),
    ("lost-many-level3", |input| input.pages(MANY, 1200, LEVEL3)),
    // Each is the upper level of the next, so that each has a root to be walked from.
    ("lost-many-roots", |input| {
        input.pages(MANY, ROOTS as u16, LEVEL3);
        let lead = |n: u64| ((MANY + n * PAGE + 511 * 8), (MANY + (n + 1) % ROOTS * PAGE) | TABLE);
        (0..ROOTS).map(lead).for_each(|(at, entry)| input.table(at, &[entry]));
        input.ramp(LEVEL2, 512, 8, LEVEL1 | TABLE, 0);
    }),
    // The root is the table of every level below, and of the image mapping.
    ("looping-every-level", |input| {
        input.table(LEVEL3 + 510 * 8, &[LEVEL3 | TABLE, LEVEL3 | TABLE]);
    }),
    // Tables that all lead to all of each other, by all rights that lead on.
    ("located-alias-explosion", |input| {
        for (part, rights) in [0x67, 0x63, 0x65, 0x67 | (1 << 63)].into_iter().enumerate() {
            let first = MANY | rights;
            input.ramp(MANY + part as u64 * 1024, 128, 8, first, PAGE);
        }
        input.pages(MANY + PAGE, 127, MANY);
        input.ramp(ROOT, 256, 8, MANY | 0x67, PAGE);
    }),
];

/// Page tables that each lead to the next: more than may be walked from.
const ROOTS: u64 = 300;

/// A made-up kernel with page tables of so many levels, text by 4 KiB pages.
#[must_use]
pub fn kernel(layout: Layout, levels: u8) -> Encoder {
    let mut input = Encoder::default();
    input.search(TEXT, TEXT_SIZE.next_multiple_of(PAGE));
    input.bytes(BANNER, b"Linux version 6.1.0-made-up (somebody) #1 SMP\n");
    input.bytes(NOTE, note(VIRT).as_bytes());
    resource(&mut input);
    page_tables(&mut input, levels);
    kallsyms(&mut input, layout);
    input
}

/// VMCOREINFO of a kernel whose text is at virtual `virt`.
fn note(virt: u64) -> String {
    let base = TEXT.wrapping_sub(virt - 0xffff_ffff_8000_0000).cast_signed();
    let root = ROOT - TEXT + virt;
    format!(
        "OSRELEASE=6.1.0-made-up\nBUILD-ID=c0ffee\nSYMBOL(init_top_pgt)={root:x}\n\
         SYMBOL(_stext)={virt:x}\nNUMBER(phys_base)={base}\n"
    )
}

/// The kernel's text among its resources (`code_resource` of arch/x86/kernel/setup.c).
fn resource(input: &mut Encoder) {
    input.bytes(NAME, b"Kernel code\0");
    let name = VIRT + (NAME - TEXT);
    input.table(RESOURCE, &[TEXT, TEXT + TEXT_SIZE - 1, name, 0x8100_0200]);
}

fn page_tables(input: &mut Encoder, levels: u8) {
    let entry = |input: &mut Encoder, table, index: u64, value| {
        input.table(table + index * 8, &[value]);
    };
    entry(input, ROOT, 300, PAGE | TABLE);
    if levels == 5 {
        entry(input, ROOT, 511, LEVEL4 | TABLE);
        entry(input, LEVEL4, 511, LEVEL3 | TABLE);
    } else {
        entry(input, ROOT, 511, LEVEL3 | TABLE);
    }
    input.table(LEVEL3 + 510 * 8, &[LEVEL2 | TABLE, FIXMAP | TABLE]);
    let first = (VIRT >> 21) & 511;
    input.table(
        LEVEL2 + first * 8,
        &[LEVEL1 | TABLE, (TEXT + 0x20_0000) | RW | LARGE, (TEXT + 0x40_0000) | RW | LARGE],
    );
    let text_pages = TEXT_SIZE.div_ceil(PAGE);
    let pages =
        |pages: std::ops::Range<u64>, rights| pages.map(move |n| (TEXT + n * PAGE) | rights);
    let entries: Vec<_> = pages(0..text_pages, RX).chain(pages(text_pages..512, RW)).collect();
    input.table(LEVEL1, &entries);
}

/// Symbols in the order of their addresses: two at the start, functions, and three behind them.
const HEAD: [(&str, u64); 2] = [("T_text", 0), ("T_stext", 0)];
const TAIL: [(&str, u64); 3] =
    [("T_etext", TEXT_SIZE), ("Dlinux_banner", BANNER - TEXT), ("B_end", END - TEXT)];
const COUNT: u64 = HEAD.len() as u64 + FUNCTIONS + TAIL.len() as u64;

/// Each printable character is a token of its own, and every function's name the same.
fn kallsyms(input: &mut Encoder, layout: Layout) {
    let mut at = TABLES;
    let mut place = |size: u64| {
        let place = at;
        at = (at + size).next_multiple_of(8);
        place
    };
    if layout == Layout::To63 {
        offsets(input, layout, place(COUNT * 4));
        input.bytes(place(8), &VIRT.to_le_bytes());
    }
    input.bytes(place(4), &(COUNT as u32).to_le_bytes());
    names(input, &mut place);
    tokens(input, place(1024));
    if layout != Layout::To63 {
        offsets(input, layout, place(COUNT * 4));
    }
    if layout == Layout::From64 {
        input.bytes(place(8), &VIRT.to_le_bytes());
    }
}

/// The token table, and its index right behind it.
fn tokens(input: &mut Encoder, at: u64) {
    input.repeat(at, 256, b"?\0");
    let letters: Vec<u8> = (b'!'..=b'~').flat_map(|letter| [letter, 0]).collect();
    input.bytes(at + u64::from(b'!') * 2, &letters);
    input.ramp(at + 512, 256, 2, 0, 2);
}

/// Names and markers.
fn names(input: &mut Encoder, place: &mut dyn FnMut(u64) -> u64) {
    let name = |name: &str| [&[name.len() as u8], name.as_bytes()].concat();
    let of = |symbols: &[(&str, u64)]| -> Vec<u8> {
        symbols.iter().flat_map(|(symbol, _)| name(symbol)).collect()
    };
    let (head, function, tail) = (of(&HEAD), name("tf"), of(&TAIL));
    let (head_size, size) = (head.len() as u64, function.len() as u64);
    let functions = head_size + FUNCTIONS * size;
    let at = place(functions + tail.len() as u64);
    input.bytes(at, &head);
    input.repeat(at + head_size, FUNCTIONS as u16, &function);
    input.bytes(at + functions, &tail);
    // A marker every 256 names, all but the first among the functions.
    let markers = COUNT.div_ceil(256);
    let at = place(markers * 4);
    let second = head_size + (256 - HEAD.len() as u64) * size;
    input.ramp(at + 4, (markers - 1) as u16, 4, second, 256 * size);
}

fn offsets(input: &mut Encoder, layout: Layout, at: u64) {
    let offset = |n: u64, symbol: u64| match layout {
        Layout::PlaceRelative => (TEXT + symbol).wrapping_sub(at + n * 4),
        // CONFIG_KALLSYMS_ABSOLUTE_PERCPU: negative, from the base.
        Layout::To63 | Layout::From64 => u64::MAX.wrapping_sub(symbol),
    };
    let single = |symbols: &[(&str, u64)], first: u64| -> Vec<u8> {
        let offsets = symbols.iter().zip(first..).map(|((_, symbol), n)| offset(n, *symbol));
        offsets.flat_map(|offset| (offset as u32).to_le_bytes()).collect()
    };
    let first = HEAD.len() as u64;
    input.bytes(at, &single(&HEAD, 0));
    let of_first = offset(first, FUNCTION);
    let step = offset(first + 1, 2 * FUNCTION).wrapping_sub(of_first);
    input.ramp(at + first * 4, FUNCTIONS as u16, 4, of_first, step);
    input.bytes(at + (first + FUNCTIONS) * 4, &single(&TAIL, first + FUNCTIONS));
}
