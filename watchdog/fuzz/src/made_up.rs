//! A made-up kernel in a kilobyte, as small as a kernel can be and still be located.

use crate::{Encoder, types};
use ram::{FIRST, Layout, MadeUp, PAGE, Ram, TABLE};

#[expect(dead_code, reason = "the tests of `locate` use the rest")]
#[path = "../../core/src/locate/tests/ram.rs"]
mod ram;

/// Physical address far above the kernel, where nothing else is.
const MANY: u64 = 0x400_0000;
/// Number of functions besides the required symbols, and bytes from one to the next.
const FUNCTIONS: u64 = 1000;
const FUNCTION: u64 = 0x10;

/// The made-up kernel. Its text is small, because all of it is searched.
const KERNEL: MadeUp = MadeUp { text_size: 0x7123, ..FIRST };

/// Kernels without any defect.
const SOUND: [(&str, Layout); 4] = [
    ("to-6.3", Layout::To63),
    ("from-6.4", Layout::From64),
    ("from-6.15", Layout::From615),
    ("place-relative", Layout::PlaceRelative),
];

/// The seeds. Most names begin with the expected finding.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, input: Encoder| seeds.push((name.to_owned(), input.finish()));
    for (name, layout) in SOUND {
        for levels in [4, 5] {
            let kernel = encoded(MadeUp { layout, levels, ..KERNEL });
            add(&format!("located-made-up-{name}-{levels}-levels"), kernel);
        }
    }
    for (name, adversity) in ADVERSITIES {
        let mut input = kernel();
        adversity(&mut input);
        add(name, input);
    }
    seeds
}

/// A seed's name, and a change to the made-up kernel.
type Adversity = (&'static str, fn(&mut Encoder));

const ADVERSITIES: [Adversity; 16] = [
    ("booting-writable-text", |input| {
        input.ramp(KERNEL.level1(), 512, 8, KERNEL.text | 0x163, PAGE);
    }),
    ("looping-page-tables", |input| {
        input.ramp(KERNEL.level2(), 512, 8, KERNEL.level2() | TABLE, 0);
    }),
    ("lost-hole-in-page-tables", |input| input.hole(KERNEL.level1(), PAGE)),
    ("lost-forged-note", |input| {
        let note = KERNEL.note(KERNEL.virt + 0x20_0000, KERNEL.text, KERNEL.root());
        input.bytes(KERNEL.note, note.as_bytes());
    }),
    ("lost-other-text-size", |input| {
        input.table(KERNEL.level1() + 7 * 8, &[(KERNEL.text + 7 * PAGE) | ram::RW]);
    }),
    ("lost-hole-in-text", |input| input.hole(KERNEL.text + PAGE, PAGE)),
    // Each index makes a witness search all memory below it for names.
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
        input.pages(KERNEL.note + PAGE, 40, KERNEL.level3());
        input.change(30, KERNEL.level3() + 510 * 8 + 1, 0);
    }),
    ("located-no-resource", |input| input.bytes(KERNEL.text + ram::NAME, b"Kernel data")),
    ("lost-other-resource-size", |input| {
        input.table(KERNEL.resource() + 8, &[KERNEL.text + KERNEL.text_size]);
    }),
    // Each resource makes a witness search a gibibyte for its name.
    ("lost-many-resources", |input| {
        let (text, last) = (KERNEL.text, KERNEL.text + KERNEL.text_size - 1);
        let resource = [text, last, KERNEL.virt + 0x1234, 0x8100_0200];
        input.repeat(MANY, 1200, &resource.map(u64::to_le_bytes).concat());
    }),
    ("lost-many-level3", |input| input.pages(MANY, 1200, KERNEL.level3())),
    // Each is the upper level of the next, so that each has a root to walk from.
    ("lost-many-roots", |input| {
        input.pages(MANY, ROOTS as u16, KERNEL.level3());
        let lead = |n: u64| ((MANY + n * PAGE + 511 * 8), (MANY + (n + 1) % ROOTS * PAGE) | TABLE);
        (0..ROOTS).map(lead).for_each(|(at, entry)| input.table(at, &[entry]));
        input.ramp(KERNEL.level2(), 512, 8, KERNEL.level1() | TABLE, 0);
    }),
    // The root is also the table of every lower level, and of the image mapping.
    ("looping-every-level", |input| {
        let level3 = KERNEL.level3();
        input.table(level3 + 510 * 8, &[level3 | TABLE, level3 | TABLE]);
    }),
    // Tables that all lead to each other, with all rights that a walk follows.
    ("located-alias-explosion", |input| {
        for (part, rights) in [0x67, 0x63, 0x65, 0x67 | (1 << 63)].into_iter().enumerate() {
            let first = MANY | rights;
            input.ramp(MANY + part as u64 * 1024, 128, 8, first, PAGE);
        }
        input.pages(MANY + PAGE, 127, MANY);
        input.ramp(KERNEL.root(), 256, 8, MANY | 0x67, PAGE);
    }),
];

/// Number of page tables that each lead to the next: more than a search walks from.
const ROOTS: u64 = 300;

/// A made-up kernel without any defect.
#[must_use]
pub fn kernel() -> Encoder {
    encoded(KERNEL)
}

/// The bounds of a kernel's learned tables: symbol and image offset.
type LearnedTables = [(&'static str, u64); 8];

const JUMPS: u64 = 0x30_0000;
const CALLS: u64 = JUMPS + 0x100;
const TYPES: u64 = JUMPS + 0x1000;

/// Seeds for learning from a kernel's memory, each with its name.
#[must_use]
pub fn learned_seeds() -> Vec<(String, Vec<u8>)> {
    let types = TYPES + types::example().len() as u64;
    let tables = |jumps, calls, types, rodata| {
        [
            ("D__start___jump_table", JUMPS),
            ("D__stop___jump_table", jumps),
            ("D__start_static_call_sites", CALLS),
            ("D__stop_static_call_sites", calls),
            ("D__start_BTF", TYPES),
            ("D__stop_BTF", types),
            ("D__start_rodata", JUMPS - 0x1000),
            ("D__end_rodata", rodata),
        ]
    };
    let seeds = [
        ("tables", tables(JUMPS + 0x40, CALLS + 0x40, types, TYPES)),
        ("large-tables", tables(JUMPS + (4 << 20), CALLS + (4 << 20), types, TYPES + (32 << 20))),
        ("tables-that-end-before-they-begin", tables(JUMPS - 1, CALLS - 1, TYPES - 1, JUMPS)),
        ("type-information-in-its-midst", tables(JUMPS + 0x40, CALLS, TYPES + 0x40, JUMPS)),
    ];
    seeds.map(|(name, tables)| (name.to_owned(), with_tables(tables))).into()
}

/// The kernel with tables of its sites and type information.
fn with_tables(tables: LearnedTables) -> Vec<u8> {
    let mut ram = Ram::empty();
    let tables = tables.map(|(name, offset)| (name.to_owned(), KERNEL.virt + offset));
    ram.add_with(KERNEL, functions(KERNEL).chain(tables));
    let mut input = of_memory(KERNEL, &ram);
    // A jump label holds its place, its target and its key, each as a distance from itself.
    let site = |at: u64, to: u64| (to.wrapping_sub(at) as u32).to_le_bytes();
    for n in 0..4 {
        let (jump, call) = (JUMPS + n * 16, CALLS + n * 8);
        let code = n * FUNCTION;
        let label = [site(jump, code), site(jump + 4, code + 8)].concat();
        input.bytes(KERNEL.text + jump, &label);
        input.table(KERNEL.text + jump + 8, &[(KERNEL.jiffies() - KERNEL.text) - (jump + 8)]);
        let static_call = [site(call, code + 5), site(call + 4, TYPES)].concat();
        input.bytes(KERNEL.text + call, &static_call);
    }
    input.bytes(KERNEL.text + TYPES, &types::example());
    input.finish()
}

/// Machine memory with a kernel and nothing else.
fn encoded(kernel: MadeUp) -> Encoder {
    let mut ram = Ram::empty();
    ram.add_with(kernel, functions(kernel));
    of_memory(kernel, &ram)
}

/// A kernel's functions. All have the same name.
fn functions(kernel: MadeUp) -> impl Iterator<Item = (String, u64)> {
    (1..=FUNCTIONS).map(move |n| ("tf".to_owned(), kernel.virt + n * FUNCTION))
}

/// An input that describes memory with a kernel in it.
fn of_memory(kernel: MadeUp, ram: &Ram) -> Encoder {
    let mut input = Encoder::default();
    input.search(kernel.text, kernel.text_size.next_multiple_of(PAGE));
    input.memory(0, &ram.0);
    input
}

/// A token table in which each letter is a token, directly followed by its index.
fn tokens(input: &mut Encoder, at: u64) {
    input.memory(at, &ram::tokens());
}
