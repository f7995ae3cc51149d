//! Changes to the [suspect](crate::suspect): seeds, each with a name that begins with the expected
//! verdict.

use crate::Encoder;
use crate::suspect::{
    BEFORE_CALL, BPF_LIST, CALL_KEY, CODE, FUNCTION, FUNCTIONS, HEAP, KEY, LIST_END, MODULES,
    OPS_LIST, PATCHER, PHYS, PROBER, PROBES, TEMPLATE, TEMPLATE_SIZE, TRACER, TRAMPOLINE, VIRT,
};

/// A seed's name, and its change.
type Deed = (&'static str, fn(&mut Encoder));

const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;
/// Offset in a function of bytes that no rule covers.
const PADDING: u32 = 0x68;
const RETURN: u32 = 0x70;
/// Number of words in memory that each lead to the next: more than are followed in any list.
const MANY: u16 = 20_000;

/// The seeds.
#[must_use]
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seed = |(name, deed): &Deed| {
        let mut input = Encoder::default();
        deed(&mut input);
        ((*name).to_owned(), input.finish())
    };
    DEEDS.iter().map(seed).collect()
}

const DEEDS: [Deed; 18] = [
    ("clean-untouched", |input| input.search(PHYS, 0x1000)),
    ("patched-booted", |input| {
        for at in [FUNCTIONS, FUNCTIONS + FUNCTION] {
            input.bytes(phys(at), &[0x0f, 0x1f, 0x44, 0, 0]);
            input.bytes(phys(at + RETURN), &[0xc3, 0xcc, 0xcc, 0xcc, 0xcc]);
        }
    }),
    ("tampered-inline-hook", |input| code(input, FUNCTIONS, JUMP, CODE.0)),
    ("tampered-padding", |input| input.bytes(phys(FUNCTIONS + PADDING), &[0xcc])),
    ("tampered-key-without-its-sites", |input| input.table(phys(KEY), &[1])),
    ("tampered-system-call", |input| input.bytes(phys(0x5000), &[0x12])),
    ("tampered-hole-in-read-only-data", |input| input.hole(phys(0x5000), 0x1000)),
    ("instrumented-tracer", |input| {
        tracer(input, HEAP.0, TRACER, CODE.0);
        code(input, FUNCTIONS, CALL, CODE.0);
    }),
    ("instrumented-all-tracers", |input| {
        tracer(input, HEAP.0, TRACER, 0);
        code(input, FUNCTIONS, CALL, VIRT + u64::from(TEMPLATE));
    }),
    ("instrumented-probe", |input| {
        probe(input, FUNCTIONS + PADDING, 0);
        input.bytes(phys(FUNCTIONS + PADDING), &[0xcc]);
    }),
    ("instrumented-optimised-probe", |input| {
        probe(input, FUNCTIONS + PADDING, CODE.0);
        input.repeat(CODE.1, 32, &[0x90]);
        code(input, FUNCTIONS + PADDING, JUMP, CODE.0);
    }),
    ("instrumented-probe-at-entry", |input| {
        probe(input, FUNCTIONS, 0);
        tracer(input, HEAP.0, PROBER, CODE.0);
        code(input, FUNCTIONS, CALL, CODE.0);
    }),
    ("instrumented-program", |input| {
        let (head, ksyms) = (VIRT + u64::from(BPF_LIST), [HEAP.0 + 0x200, HEAP.0 + 0x400]);
        let names = ["bpf_trampoline_1", "bpf_prog_2"];
        let nexts = [ksyms[1] + 144, head];
        input.table(phys(BPF_LIST), &[ksyms[0] + 144]);
        for (n, (ksym, name)) in ksyms.into_iter().zip(names).enumerate() {
            let start = CODE.0 + n as u64 * 0x100;
            input.table(heap(ksym), &[start, start + 0x80]);
            input.bytes(heap(ksym) + 16, name.as_bytes());
            input.table(heap(ksym) + 144, &[nexts[n]]);
        }
        input.bytes(CODE.1, &call(CODE.0, CODE.0 + 0x100));
        code(input, FUNCTIONS, CALL, CODE.0);
    }),
    ("instrumented-call-of-a-module", |input| {
        let (module, kallsyms) = (HEAP.0 + 0x600, HEAP.0 + 0x700);
        input.table(phys(MODULES), &[module]);
        input.table(heap(module), &[VIRT + u64::from(MODULES)]);
        input.bytes(heap(module) + 16, b"made_up");
        input.table(heap(module) + 72, &[CODE.0, 0x1000, kallsyms]);
        input.table(heap(kallsyms), &[kallsyms + 0x20, 1, kallsyms + 0x40]);
        input.table(heap(kallsyms) + 0x20, &[1, CODE.0 + 0x400]);
        input.bytes(heap(kallsyms) + 0x41, b"function");
        input.table(phys(CALL_KEY), &[CODE.0 + 0x400]);
        code(input, TRAMPOLINE, JUMP, CODE.0 + 0x400);
    }),
    ("instrumented-livepatch", |input| {
        tracer(input, HEAP.0, PATCHER, CODE.0);
        input.table(HEAP.1 + 32, &[HEAP.0 + 0x88]);
        input.table(HEAP.1 + 0x80, &[VIRT + u64::from(FUNCTIONS + FUNCTION)]);
        code(input, FUNCTIONS, CALL, CODE.0);
    }),
    // The call in a trampoline changes after the first read, and the text after the 40th.
    ("tampered-changing", |input| {
        tracer(input, HEAP.0, TRACER, CODE.0);
        code(input, FUNCTIONS, CALL, CODE.0);
        input.change(1, CODE.1 + u64::from(BEFORE_CALL) + 1, 0x77);
        input.change(40, phys(FUNCTIONS + PADDING), 0xcc);
    }),
    // Lists in the layouts of a kernel that does not describe them: a mutex has 56 bytes.
    ("undescribed-lists", |input| {
        let [ops, ksym, module, probe] = [1, 2, 3, 4].map(|n| HEAP.0 + n * 0x1000);
        let (list_end, tracer) = (VIRT + u64::from(LIST_END), VIRT + u64::from(TRACER));
        input.table(phys(LIST_END + 112), &[list_end + 40]);
        input.table(phys(OPS_LIST), &[ops]);
        input.table(heap(ops), &[tracer, list_end, 1 << 11]);
        input.table(heap(ops) + 112, &[ops + 40]);
        input.table(heap(ops) + 192, &[CODE.0, 0x100]);
        for (list, link) in [(BPF_LIST, ksym + 528), (MODULES, module + 8)] {
            let head = VIRT + u64::from(list);
            input.table(phys(list), &[link, link]);
            input.table(heap(link), &[head, head]);
        }
        input.table(heap(ksym), &[CODE.0, CODE.0 + 0x80]);
        input.bytes(heap(ksym) + 16, b"bpf_trampoline_1");
        input.bytes(heap(module) + 24, b"made_up");
        input.table(heap(module) + 320, &[CODE.0, 0x800, module]);
        input.table(heap(module) + 888, &[module + 896, CODE.0, 1, CODE.0]);
        input.table(phys(PROBES), &[probe]);
        let place = VIRT + u64::from(FUNCTIONS + PADDING);
        let words = [0, VIRT + u64::from(PROBES), probe + 16, probe + 16, 0, place];
        input.table(heap(probe), &words);
        input.table(heap(probe) + 64, &[tracer]);
        input.bytes(phys(FUNCTIONS + PADDING), &[0xcc]);
        code(input, FUNCTIONS, CALL, CODE.0);
    }),
    // All lists lead into one chain that is too long to be followed. Each of its entries serves as
    // every structure. Every function's entry calls another entry of the chain.
    ("tampered-slow-lists", |input| {
        input.ramp(CODE.1, MANY, 8, CODE.0 + 8, 8);
        for list in [OPS_LIST, BPF_LIST, MODULES] {
            input.table(phys(list), &[CODE.0]);
        }
        input.ramp(phys(PROBES), 64, 8, CODE.0, 8);
        for (n, at) in (0_u64..).zip((FUNCTIONS..0x4000).step_by(FUNCTION as usize)) {
            code(input, at, CALL, CODE.0 + n * 8);
        }
        input.table(phys(CALL_KEY), &[CODE.0 + 0x100]);
        code(input, TRAMPOLINE, JUMP, CODE.0 + 0x100);
    }),
];

fn phys(offset: u32) -> u64 {
    PHYS + u64::from(offset)
}

/// The physical address of a virtual address in the heap.
fn heap(virt: u64) -> u64 {
    virt - HEAP.0 + HEAP.1
}

fn branch(opcode: u8, from: u64, to: u64) -> [u8; 5] {
    let [a, b, c, d] = (to.wrapping_sub(from).wrapping_sub(5) as u32).to_le_bytes();
    [opcode, a, b, c, d]
}

fn call(from: u64, to: u64) -> [u8; 5] {
    branch(CALL, from, to)
}

/// Writes a branch into the text.
fn code(input: &mut Encoder, at: u32, opcode: u8, to: u64) {
    input.bytes(phys(at), &branch(opcode, VIRT + u64::from(at), to));
}

/// Registers a tracer whose record is at `at`. It has a trampoline unless `trampoline` is 0.
fn tracer(input: &mut Encoder, at: u64, function: u32, trampoline: u64) {
    let function = VIRT + u64::from(function);
    let size = u64::from(TEMPLATE_SIZE) + 8;
    input.table(phys(OPS_LIST), &[at]);
    input.table(heap(at), &[function, VIRT + u64::from(LIST_END), trampoline, size]);
    if trampoline != 0 {
        let place = trampoline - CODE.0 + CODE.1;
        input.repeat(place, TEMPLATE_SIZE as u16, &[0x90]);
        let from = trampoline + u64::from(BEFORE_CALL);
        input.bytes(place + u64::from(BEFORE_CALL), &call(from, function));
    }
}

/// Registers a probe, which is optimised if it has a detour.
fn probe(input: &mut Encoder, at: u32, detour: u64) {
    let probe = HEAP.0 + 0x100;
    input.table(phys(PROBES) + 8, &[probe]);
    let list = probe + 16;
    input.table(heap(list), &[list, list, VIRT + u64::from(at), VIRT + u64::from(TRACER)]);
    input.bytes(heap(probe) + 48, &[0x90, 0, 0, 0, 0x90, 0x90, 0x90, 0x90]);
    input.table(heap(probe) + 56, &[detour]);
}
