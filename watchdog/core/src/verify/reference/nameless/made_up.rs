//! An image without symbols, for tests and for the seeds of a fuzz target.

use crate::image::made_up::{Elf, TEXT, place};

pub(crate) const FENTRY: u32 = 0x40;
pub(crate) const STUB: u32 = 0x20;
pub(crate) const CALLER: u32 = 0x60;
pub(crate) const CALLER_REGS: u32 = 0xa0;
pub(crate) const FUNCTIONS: u32 = 0x200;
pub(crate) const COUNT: u32 = 20;
pub(crate) const THUNKS: u32 = 0x800;
pub(crate) const LINES: u32 = 0xc00;
pub(crate) const RETURN: u32 = 0x1200;
pub(crate) const ALIGNED_RETURN: u32 = 0x1260;
pub(crate) const TRAMPOLINE: u32 = 0x1300;
/// A function behind padding, and a landing pad.
pub(crate) const PADDED: u32 = 0x1420;
pub(crate) const PAD: u32 = 0x1500;
/// Image offsets of the sections behind the text.
pub(crate) const ENTRIES: u32 = 0x5800;
pub(crate) const VARIABLE: u32 = 0x5a00;
pub(crate) const SITES: [u32; 2] = [0x5c00, 0x5d00];

pub(crate) fn branch(opcode: u8, from: u32, to: u32) -> Vec<u8> {
    [&[opcode][..], &to.wrapping_sub(from + 5).to_le_bytes()].concat()
}

pub(crate) fn function(n: u32) -> u32 {
    FUNCTIONS + n * 0x40
}

/// A kernel that ftrace can trace, with thunks and a trampoline. It has no symbols.
pub(crate) fn kernel() -> Elf {
    let mut elf = Elf::kernel();
    let text = &mut elf.section(".text").bytes;
    text.fill(0x50);
    let mut put = |at: u32, code: &[u8]| place(text, at.into(), code);
    let ends = |code: Vec<u8>| [code, vec![0xcc; 16]].concat();
    for (at, code) in [(STUB, branch(0xe9, STUB, RETURN)), (FENTRY, branch(0xe9, FENTRY, RETURN))] {
        put(at, &ends(code));
    }
    for (caller, call) in [(CALLER, CALLER + 0x18), (CALLER_REGS, CALLER_REGS + 0x24)] {
        put(call, &branch(0xe8, call, STUB));
        put(call + 5, &ends(branch(0xe9, call + 5, RETURN)));
        put(caller - 4, &[0xcc; 4]);
    }
    let mut returns = Vec::new();
    let mut jumps = Vec::new();
    for n in 0..COUNT {
        let at = function(n);
        put(at, &branch(0xe8, at, FENTRY));
        put(at + 0x10, &branch(0xe9, at + 0x10, RETURN));
        returns.push(at + 0x10);
        put(at + 0x20, &branch(0xe8, at + 0x20, thunk(n % 16)));
        jumps.push(at + 0x20);
    }
    for number in 0..16_u32 {
        let register = u8::try_from(number).unwrap();
        let (prefix, modrm) = (if number < 8 { 0x48 } else { 0x4c }, 4 | (register & 7) << 3);
        put(thunk(number), &[0xe8, 1, 0, 0, 0, 0xcc, prefix, 0x89, modrm, 0x24]);
        put(thunk(number) + 10, &branch(0xe9, thunk(number) + 10, RETURN));
        let jump = [0x41, 0xff, 0xe0 | (register & 7)];
        let line = [&jump[usize::from(number < 8)..], &[0xcc; 32]].concat();
        put(LINES + 0x20 + number * 0x40, &line[..32]);
    }
    put(ALIGNED_RETURN - 32, &[0xcc; 32]);
    put(ALIGNED_RETURN, &[0xc3, 0xcc]);
    put(RETURN, &[0xc3, 0xcc]);
    put(TRAMPOLINE, &[&branch(0xe9, TRAMPOLINE, function(3))[..], &[0x0f, 0xb9, 0xcc]].concat());
    put(PADDED - 16, &[0x90; 16]);
    put(PAD, &[0xf3, 0x0f, 0x1e, 0xfa]);
    let distances = |start: u32, places: &[u32]| -> Vec<u8> {
        let at = (start..).step_by(4);
        at.zip(places).flat_map(|(at, to)| to.wrapping_sub(at).to_le_bytes()).collect()
    };
    // Data is not a table as a whole, whatever the size of an entry.
    let words = |places: &mut dyn Iterator<Item = u32>| -> Vec<u8> {
        const WORDS: usize = 23;
        let addresses = places.map(|at| TEXT + u64::from(at));
        addresses.chain(std::iter::repeat(1)).take(WORDS).flat_map(u64::to_le_bytes).collect()
    };
    let section =
        |elf: Elf, name, at: u32, bytes| elf.with_section(name, 1, 3, TEXT + u64::from(at), bytes);
    let elf = section(elf, ".init.data", ENTRIES, words(&mut (0..COUNT).map(function)));
    let elf = section(elf, ".data", VARIABLE, words(&mut [RETURN].into_iter()));
    let elf = section(elf, ".return_sites", SITES[0], distances(SITES[0], &returns));
    section(elf, ".retpoline_sites", SITES[1], distances(SITES[1], &jumps))
}

pub(crate) fn thunk(number: u32) -> u32 {
    THUNKS + number * 0x20
}
