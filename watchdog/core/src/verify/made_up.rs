//! A made-up kernel for tests. It has a small text with sites for tracers. Separate memory holds
//! the lists of the tracers.

use crate::locate::Kernel;
use crate::locate::tests::made_up::{FIRST, LARGE, Machine, RX};
use crate::memory::{PhysAddr, PhysRange};
use crate::verify::reference::{
    BpfKsym, FtraceOps, ImageSymbols, KnownSymbols, Kprobe, Layouts, Module, Piece, Reference,
    Tables,
};

/// Bytes of the kernel's text.
pub(crate) const TEXT: u32 = 0x8000;
/// Bytes from one function to the next. Each function begins with a site for tracers.
pub(crate) const FUNCTION: u32 = 0x10;
/// Image offset of `__fentry__`, the last function.
const FENTRY: u32 = TEXT - FUNCTION;
/// Image offset of read-only data, right behind the text.
pub(crate) const RODATA: u32 = TEXT;
/// Image offsets of the kernel's lists.
pub(crate) const PROBES: u32 = 0x50_2000;
pub(crate) const PROGRAMS: u32 = 0x50_3000;
pub(crate) const MODULES: u32 = 0x50_3100;
pub(crate) const TRACERS: u32 = 0x50_3200;
/// Executable memory outside the image: its virtual and physical address, and its size in bytes.
pub(crate) const OWN: (u64, u64) = (FIRST.virt + (16 << 21), 0x100_0000);
const OWN_SIZE: u64 = 8 << 20;

const LAYOUTS: Layouts = Layouts {
    ftrace_ops: Some(FtraceOps { func: 0, next: 8, trampoline: 16, trampoline_size: 24 }),
    kprobe: Some(Kprobe {
        hlist: 0,
        list: 16,
        addr: 32,
        pre_handler: 40,
        opcode: 48,
        optimized: None,
    }),
    bpf_ksym: Some(BpfKsym { start: 0, end: 8, name: 16, lnode: 144 }),
    livepatch: None,
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

/// A made-up kernel and its memory.
pub(crate) struct Suspect {
    pub(crate) machine: Machine,
    pub(crate) kernel: Kernel,
}

impl Suspect {
    /// Makes a kernel without tracers.
    pub(crate) fn new() -> Self {
        let machine = Machine::with(FIRST);
        let mut kernel = *machine.kernel();
        kernel.text.size = TEXT.into();
        for n in 0..OWN_SIZE >> 21 {
            let frame = OWN.1 + (n << 21);
            machine.entry(FIRST.level2(), FIRST.first_entry() + 16 + n, frame | RX | LARGE);
        }
        let suspect = Self { machine, kernel };
        suspect.machine.write(FIRST.text, &text());
        suspect.image(RODATA, &[0; TEXT as usize]);
        // No tracer is registered: the list begins with its end.
        let end = FIRST.virt + u64::from(TRACERS + 8);
        suspect.image(TRACERS, &end.to_le_bytes());
        suspect
    }

    /// Writes to the kernel's image.
    pub(crate) fn image(&self, offset: u32, bytes: &[u8]) {
        self.machine.write(FIRST.text + u64::from(offset), bytes);
    }

    /// Writes words to the memory outside the image.
    pub(crate) fn own(&self, virt: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.machine.write(virt - OWN.0 + OWN.1, &bytes);
    }

    /// Writes a branch into the text.
    pub(crate) fn branch(&self, at: u32, opcode: u8, to: u64) {
        self.image(at, &branch(opcode, FIRST.virt + u64::from(at), to));
    }

    /// Number of bytes that were read from the kernel's memory so far.
    pub(crate) fn read(&self) -> u64 {
        self.machine.read.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The physical range of the text.
    pub(crate) fn text(&self) -> PhysRange {
        PhysRange::with_size(PhysAddr(FIRST.text), TEXT.into()).unwrap()
    }
}

/// A branch of five bytes.
pub(crate) fn branch(opcode: u8, from: u64, to: u64) -> [u8; 5] {
    let [a, b, c, d] = (to.wrapping_sub(from).wrapping_sub(5) as u32).to_le_bytes();
    [opcode, a, b, c, d]
}

/// Image offsets of the functions that can be traced.
pub(crate) fn functions() -> impl Iterator<Item = u32> {
    (0..FENTRY).step_by(FUNCTION as usize)
}

fn text() -> Vec<u8> {
    let mut text = vec![0x90; TEXT as usize];
    for at in functions() {
        let code = branch(0xe8, at.into(), FENTRY.into());
        text[at as usize..at as usize + code.len()].copy_from_slice(&code);
    }
    text
}

/// The reference of this kernel.
pub(crate) fn reference() -> Reference {
    let mut names: Vec<(u32, String)> =
        functions().map(|at| (at, format!("function_{at:x}"))).collect();
    let lists = [
        ("kprobe_table", PROBES),
        ("bpf_kallsyms", PROGRAMS),
        ("modules", MODULES),
        ("ftrace_ops_list", TRACERS),
        ("ftrace_list_end", TRACERS + 8),
    ];
    names.push((FENTRY, "__fentry__".to_owned()));
    names.extend(lists.map(|(name, at)| (at, name.to_owned())));
    let symbols = names.into_iter().map(|(at, name)| {
        let kind = if at < TEXT { b't' } else { b'd' };
        (kind, name, at)
    });
    let piece = |offset, bytes| Piece { offset, bytes, ..Piece::default() };
    Reference {
        release: "6.1.0-made-up".to_owned(),
        banner: String::new(),
        build_id: String::new(),
        link_address: FIRST.virt,
        text: piece(0, text()),
        replacements: piece(TEXT, Vec::new()),
        rodata: piece(RODATA, vec![0; TEXT as usize]),
        left_out: 0..0,
        tables: Tables {
            fentry: functions().collect(),
            known_symbols: KnownSymbols { fentry: Some(FENTRY), ..KnownSymbols::default() },
            ..Tables::default()
        },
        gates: Vec::new(),
        symbols: ImageSymbols::from_ascending(symbols),
        layouts: LAYOUTS,
        not_judged: Vec::new(),
    }
}

/// Adds symbols of code to those of a reference.
pub(crate) fn add_code_symbols(reference: &mut Reference, symbols: &[(u32, &str)]) {
    let have = reference.symbols.iter().map(|(name, kind, at)| (at, kind, name.to_owned()));
    let more = symbols.iter().map(|&(at, name)| (at, b't', name.to_owned()));
    let mut all: Vec<_> = have.chain(more).collect();
    all.sort();
    let all = all.into_iter().map(|(at, kind, name)| (kind, name, at));
    reference.symbols = ImageSymbols::from_ascending(all);
}
