//! A kernel made up to be judged: sixteen kilobytes of text with a site of every kind, what it goes
//! by, and the book of its tracers, as yet empty.
//!
//! An input is written over it, so that a few bytes are enough to change anything.

use std::sync::LazyLock;

use jiff::Timestamp;
use watchdog_core::digest::Digest;
use watchdog_core::locate::{Finding, Kernel, Text, locate};
use watchdog_core::memory::{PhysAddr, PhysRange, VirtAddr};
use watchdog_core::verify::reference::{
    BpfKsym, FtraceOps, Kprobe, Layouts, Livepatch, Module, Piece,
};
use watchdog_core::verify::{Baseline, BaselineKind, Identity, Origin, Verifier};

use crate::made_up;
use crate::{Encoder, Input, search};

mod reference;

use reference::{reference, sites};

/// Where its text is, and how far KASLR moved it.
pub const PHYS: u64 = 0x40_0000;
pub(crate) const VIRT: u64 = 0xffff_ffff_8160_0000;
const DISTANCE: u64 = 0x60_0000;
const PAGE: u64 = 0x1000;
const TEXT_SIZE: u32 = 0x4000;

// By image offset: what stands behind the text.
const REPLACEMENTS: u32 = 0x4000;
const RODATA: u32 = 0x5000;
const RODATA_SIZE: u32 = 0x1000;
const RO_AFTER_INIT: u32 = 0x5800;
const DETOUR: u32 = 0x5400;
const CALLS_TABLE: u32 = 0x5600;
const IDT: u32 = 0x6000;
/// Static keys and the keys of static calls.
pub(crate) const KEY: u32 = 0x7000;
pub(crate) const CALL_KEY: u32 = 0x7010;
const PV_OPS: u32 = 0x7020;
const THUNK: u32 = 0x7040;
const CONSTANT: u32 = 0x7048;
const MUTEX: u32 = 0x7050;
pub(crate) const OPS_LIST: u32 = 0x7080;
pub(crate) const LIST_END: u32 = 0x70c0;
pub(crate) const BPF_LIST: u32 = 0x7100;
pub(crate) const MODULES: u32 = 0x7110;
pub(crate) const PROBES: u32 = 0x7200;
const IMAGE_SIZE: u64 = 0x1_0000;

/// Memory of its own that can be written, and memory that can be executed: virtual and physical.
pub(crate) const HEAP: (u64, u64) = (0xffff_8880_0000_0000, 0x100_0000);
pub(crate) const CODE: (u64, u64) = (0xffff_ffff_c000_0000, 0x120_0000);
/// Bytes of each.
const AREA: u64 = 0x20_0000;
const TABLES: u64 = 0x200_0000;

// Of its functions, by image offset; those without a name of their own begin at `FUNCTIONS`.
const FENTRY: u32 = 0x40;
const RETURN_THUNK: u32 = 0x80;
const REGISTER_THUNK: u32 = 0xc0;
pub(crate) const TRAMPOLINE: u32 = 0x100;
pub(crate) const TEMPLATE: u32 = 0x140;
/// The bytes of a template, and of what is in front of the call in it.
pub(crate) const TEMPLATE_SIZE: u32 = 0x30;
pub(crate) const BEFORE_CALL: u32 = 0x10;
const OTHER_TEMPLATE: u32 = 0x180;
const ZERO: u32 = 0x1c0;
const BUG: u32 = 0x1d0;
const NOTHING: u32 = 0x1e0;
pub(crate) const PATCHER: u32 = 0x200;
pub(crate) const PROBER: u32 = 0x240;
pub(crate) const TRACER: u32 = 0x280;
const TRACERS: u32 = 0x2c0;
const ENTRY: u32 = 0x300;
pub(crate) const FUNCTIONS: u32 = 0x400;
/// From one function to the next.
pub(crate) const FUNCTION: u32 = 0x80;

// In each function, by its own offset.
pub(crate) const LABEL: u32 = 0x08;
pub(crate) const CALL: u32 = 0x10;
const LOCK: u32 = 0x18;
const BRANCH: u32 = 0x20;
const SEAL: u32 = 0x28;
const ALTERNATIVE: u32 = 0x30;
const PARAVIRT: u32 = 0x40;
const IMMEDIATE: u32 = 0x50;
const DIRECT: u32 = 0x60;
const RETURN: u32 = 0x70;

/// Fields of the structures of its book, all of which fit 64 bytes.
pub(crate) const LAYOUTS: Layouts = Layouts {
    ftrace_ops: FtraceOps { func: 0, next: 8, trampoline: 16, trampoline_size: 24 },
    kprobe: Kprobe {
        hlist: 0,
        list: 16,
        addr: 32,
        pre_handler: 40,
        opcode: 48,
        optimized: Some((52, 56)),
    },
    bpf_ksym: BpfKsym { start: 0, end: 8, name: 16, lnode: 144 },
    livepatch: Some(Livepatch { func_stack: 32, fops: 0, stack_node: 8, new_func: 0 }),
    module: Module {
        list: 0,
        name: 16,
        base: 72,
        size: 80,
        kallsyms: 88,
        symtab: 0,
        num_symtab: 8,
        strtab: 16,
    },
};

/// A kernel, its baseline, and a verifier that has seen nothing.
#[derive(Debug)]
pub struct Suspect {
    /// Where it is.
    pub kernel: Kernel,
    /// What it should be.
    pub baseline: Baseline,
    /// Who judges it.
    pub verifier: Verifier,
    /// Its text as it should be where it is.
    pub text: Vec<u8>,
    /// Which bytes of that a rule is for.
    pub sites: Vec<bool>,
    memory: Vec<u8>,
}

/// The kernel that all inputs are written over.
pub static SUSPECT: LazyLock<Suspect> = LazyLock::new(Suspect::new);

impl Suspect {
    fn new() -> Self {
        let reference = reference();
        let kernel = kernel_for(TEXT_SIZE.into());
        let text = reference.text.clone().take_moved(DISTANCE);
        let memory = memory(&text, &reference.rodata);
        let sites = sites(&reference);
        let identity = Identity {
            release: reference.release.clone(),
            build_id: Some(reference.build_id.clone()),
            place: None,
            size: TEXT_SIZE.into(),
        };
        let origin = Origin {
            source: "made up".to_owned(),
            sha256: Digest::of(&text),
            made: Timestamp::UNIX_EPOCH,
        };
        let kind = BaselineKind::Image;
        let baseline = Baseline { kind, identity, origin, reference: reference.into() };
        let verifier = Verifier::new(baseline.clone(), &kernel);
        Self { kernel, baseline, verifier, text, sites, memory }
    }

    /// The kernel's memory with an input written over it; at rest, so that nobody waits for what is
    /// wrong to be made right, whether or not it changes.
    #[must_use]
    pub fn with(&self, input: &[u8]) -> Input {
        let mut input = Input::decode(&[&self.memory, input].concat());
        input.memory.set_at_rest();
        input
    }
}

/// A made-up kernel with a text of so many bytes where the suspect's is.
///
/// # Panics
/// When the made-up kernel is not found.
#[must_use]
pub fn kernel_for(size: u64) -> Kernel {
    static LOCATED: LazyLock<Kernel> = LazyLock::new(|| {
        let input = Input::decode(&made_up::kernel().finish());
        let found = locate(&input.memory, &input.within, &search(), &mut |_, _| ());
        match found.expect("all of it can be read").remove(0) {
            Finding::Located(kernel) => *kernel,
            other => panic!("the made-up kernel is {other:?}"),
        }
    });
    Kernel {
        text: Text { phys: PhysAddr(PHYS), virt: VirtAddr(VIRT), size },
        image: PhysRange::with_size(PhysAddr(PHYS), IMAGE_SIZE.max(size)).expect("an extent"),
        page_table_root: PhysAddr(TABLES),
        paging_levels: 4,
        banner: made_up_banner(),
        ..LOCATED.clone()
    }
}

fn made_up_banner() -> String {
    "Linux version 6.12.0-made-up".to_owned()
}

fn functions() -> impl Iterator<Item = u32> {
    (FUNCTIONS..TEXT_SIZE).step_by(FUNCTION as usize)
}

/// Memory in which nothing is wrong.
fn memory(text: &[u8], rodata: &Piece) -> Vec<u8> {
    let mut input = Encoder::default();
    let at = |offset: u32| PHYS + u64::from(offset);
    let virt = |offset: u32| VIRT + u64::from(offset);
    input.bytes(PHYS, text);
    input.bytes(at(RODATA), &rodata.clone().take_moved(DISTANCE));
    let entry = virt(ENTRY);
    let mut gate = [0; 16];
    gate[..2].copy_from_slice(&entry.to_le_bytes()[..2]);
    gate[2] = 0x10;
    gate[5] = 0x8e;
    gate[6..12].copy_from_slice(&entry.to_le_bytes()[2..]);
    input.bytes(at(IDT) + 14 * 16, &gate);
    // The last page of the image, so that all of it can be read.
    input.bytes(at(0xf000), &[1]);
    input.table(at(CALL_KEY), &[virt(FUNCTIONS)]);
    input.table(at(PV_OPS), &[virt(FUNCTIONS)]);
    input.table(at(THUNK), &[virt(RETURN_THUNK), 0x1234]);
    input.table(at(OPS_LIST), &[virt(LIST_END)]);
    for list in [BPF_LIST, MODULES] {
        input.table(at(list), &[virt(list), virt(list)]);
    }
    page_tables(&mut input);
    input.finish()
}

/// The image by small pages, text alone executable; heap and code by large ones.
fn page_tables(input: &mut Encoder) {
    const TABLE: u64 = 0x63;
    const RX: u64 = 0x121;
    const RW: u64 = 0x163 | (1 << 63);
    const LARGE: u64 = 0x80;
    let [heap3, heap2, level3, level2, level1] = [1, 2, 3, 4, 5].map(|n| TABLES + n * PAGE);
    let index = |virt: u64, shift: u32| (virt >> shift & 511) * 8;
    input.table(TABLES + index(HEAP.0, 39), &[heap3 | TABLE]);
    input.table(heap3 + index(HEAP.0, 30), &[heap2 | TABLE]);
    input.table(heap2 + index(HEAP.0, 21), &[HEAP.1 | RW | LARGE]);
    input.table(TABLES + index(VIRT, 39), &[level3 | TABLE]);
    input.table(level3 + index(VIRT, 30), &[level2 | TABLE, level2 | TABLE]);
    input.table(level2 + index(VIRT, 21), &[level1 | TABLE]);
    input.table(level2 + index(CODE.0, 21), &[CODE.1 | RX | LARGE]);
    let text_pages = u64::from(TEXT_SIZE) / PAGE;
    let frames =
        |pages: std::ops::Range<u64>, rights| pages.map(move |n| (PHYS + n * PAGE) | rights);
    let entries: Vec<_> =
        frames(0..text_pages, RX).chain(frames(text_pages..IMAGE_SIZE / PAGE, RW)).collect();
    input.table(level1 + index(VIRT, 12), &entries);
    debug_assert!(HEAP.1 + AREA <= CODE.1 && CODE.1 + AREA <= TABLES);
}
