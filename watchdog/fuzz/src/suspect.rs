//! A made-up kernel for the judge. It has 16 KiB of text with a site of every kind, the state that
//! rules need, and empty lists of tracers.
//!
//! An input is written over the kernel, so that a few bytes are enough to change anything.

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

/// Physical and virtual address of the text, and the distance by which KASLR moved it.
pub const PHYS: u64 = 0x40_0000;
pub(crate) const VIRT: u64 = 0xffff_ffff_8160_0000;
const DISTANCE: u64 = 0x60_0000;
const PAGE: u64 = 0x1000;
const TEXT_SIZE: u32 = 0x4000;

// Image offsets of the data behind the text.
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

/// A writable and an executable area outside the image, each with its virtual and physical address.
pub(crate) const HEAP: (u64, u64) = (0xffff_8880_0000_0000, 0x100_0000);
pub(crate) const CODE: (u64, u64) = (0xffff_ffff_c000_0000, 0x120_0000);
/// Size of each area in bytes.
const AREA: u64 = 0x20_0000;
/// Physical address of the page tables.
const TABLES: u64 = 0x200_0000;

// Image offsets of functions. Functions without a name of their own begin at `FUNCTIONS`.
const FENTRY: u32 = 0x40;
const RETURN_THUNK: u32 = 0x80;
const REGISTER_THUNK: u32 = 0xc0;
pub(crate) const TRAMPOLINE: u32 = 0x100;
pub(crate) const TEMPLATE: u32 = 0x140;
/// Bytes of a template, and of the code before its call.
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
/// Bytes from one function to the next.
pub(crate) const FUNCTION: u32 = 0x80;

// Offsets of the sites in each function.
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

/// Field offsets of the structures in the kernel's lists.
pub(crate) const LAYOUTS: Layouts = Layouts {
    ftrace_ops: Some(FtraceOps { func: 0, next: 8, trampoline: 16, trampoline_size: 24 }),
    kprobe: Some(Kprobe {
        hlist: 0,
        list: 16,
        addr: 32,
        pre_handler: 40,
        opcode: 48,
        optimized: Some((52, 56)),
    }),
    bpf_ksym: Some(BpfKsym { start: 0, end: 8, name: 16, lnode: 144 }),
    livepatch: Some(Livepatch { func_stack: 32, fops: 0, stack_node: 8, new_func: 0 }),
    module: Some(Module {
        list: 0,
        name: 16,
        base: 72,
        size: 80,
        kallsyms: 88,
        symtab: 0,
        num_symtab: 8,
        strtab: 16,
    }),
};

/// A kernel, its baseline, and a verifier that has not read anything yet.
#[derive(Debug)]
pub struct Suspect {
    /// Where the kernel is.
    pub kernel: Kernel,
    /// The baseline of the kernel.
    pub baseline: Baseline,
    /// The verifier that judges the kernel.
    pub verifier: Verifier,
    /// The expected text at the kernel's address.
    pub text: Vec<u8>,
    /// The bytes of the text that a rule covers.
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

    /// The kernel's memory with an input written over it. The memory reports that it is at rest,
    /// whether or not it changes. The verifier therefore does not wait for unexplained places to
    /// become right.
    #[must_use]
    pub fn with(&self, input: &[u8]) -> Input {
        let mut input = Input::decode(&[&self.memory, input].concat());
        input.memory.set_at_rest();
        input
    }
}

/// A made-up kernel with a text of `size` bytes, at the suspect's address.
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

/// The kernel's memory without any change.
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
    // The last page of the image.
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

/// Maps the image with small pages, of which only the text is executable. Maps heap and code with
/// large pages.
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
