//! Interrupt gates, as they are in memory (`idt_table`, arch/x86/kernel/idt.c). Another node cannot
//! see the IDTR, which selects the table that the processor really uses.

use super::wrong::Wrong;
use crate::locate::Kernel;
use crate::memory::Memory;
use crate::verify::reference::{ImageSymbols, Reference};

const GATE_BYTES: usize = 16;
const VECTORS: usize = 256;
const KERNEL_CS: u16 = 0x10;
/// Bits of a gate's type: present, and interrupt gate.
const PRESENT: u8 = 0x80;
const INTERRUPT: u8 = 0x0e;
/// The vectors that user mode may raise: `int3`, `into`, `int $0x80`.
const FOR_USERS: [u8; 3] = [3, 4, 0x80];

/// A kernel's gates under watch. Their judgement depends on their bytes alone.
#[derive(Clone, Debug, Default)]
pub(super) struct GateWatch {
    /// The bytes that were judged last.
    bytes: Option<Vec<u8>>,
    right: usize,
    wrong: Vec<Wrong>,
}

impl GateWatch {
    /// Reads the gates, and judges them if they changed. A learned baseline has no tables. With it,
    /// the check only distinguishes handlers from other places.
    pub(super) fn sweep(&mut self, reference: &Reference, memory: &dyn Memory, kernel: &Kernel) {
        let Some(table) = reference.symbols.address("idt_table") else { return };
        let mut bytes = vec![0; GATE_BYTES * VECTORS];
        let place = kernel.text.phys.checked_add(table.into());
        let read = place.is_some_and(|at| memory.read(at, &mut bytes).is_ok());
        let bytes = read.then_some(bytes);
        if self.bytes == bytes {
            return;
        }
        (self.right, self.wrong) = (0, Vec::new());
        let (gates, _) = bytes.as_deref().unwrap_or_default().as_chunks::<GATE_BYTES>();
        for ((vector, at), gate) in (0..=255_u8).zip((table..).step_by(GATE_BYTES)).zip(gates) {
            match judge_gate(reference, kernel, vector, gate) {
                Ok(true) => self.right = self.right.saturating_add(1),
                Ok(false) => {}
                Err(why) => {
                    let found = gate.to_vec();
                    self.wrong.push(Wrong { at, expected: Vec::new(), found, why });
                }
            }
        }
        log::debug!("interrupt gates: {} right, {} wrong", self.right, self.wrong.len());
        self.bytes = bytes;
    }

    /// Number of gates that lead to an expected handler.
    pub(super) fn right(&self) -> usize {
        self.right
    }

    /// The gates that do not lead to one.
    pub(super) fn wrong(&self) -> &[Wrong] {
        &self.wrong
    }
}

/// Whether a gate is present, or what is wrong with it.
fn judge_gate(
    reference: &Reference,
    kernel: &Kernel,
    vector: u8,
    gate: &[u8; GATE_BYTES],
) -> Result<bool, &'static str> {
    let [l0, l1, s0, s1, _ist, kind, m0, m1, h0, h1, h2, h3, ..] = *gate;
    if kind & PRESENT == 0 {
        return Ok(false);
    }
    let level = (kind >> 5) & 3;
    let allowed = if FOR_USERS.contains(&vector) { 3 } else { 0 };
    if u16::from_le_bytes([s0, s1]) != KERNEL_CS || kind & 0x1f != INTERRUPT || level > allowed {
        return Err("an interrupt gate of a kind that the kernel never uses");
    }
    let handler = u64::from_le_bytes([l0, l1, m0, m1, h0, h1, h2, h3]);
    let offset = handler.checked_sub(kernel.text.virt.0).and_then(|it| u32::try_from(it).ok());
    if offset.is_some_and(|offset| is_early(&reference.symbols, vector, offset)) {
        return Ok(true);
    }
    let handler = offset
        .filter(|offset| u64::from(*offset) < kernel.text.size)
        .ok_or("an interrupt gate that leads out of the kernel's text")?;
    let mut listed = reference.gates.iter().filter(|gate| gate.vector == vector).peekable();
    let is_right = if listed.peek().is_some() {
        listed.any(|gate| gate.handler == handler)
    } else {
        is_entry(&reference.symbols, vector, handler)
    };
    if is_right { Ok(true) } else { Err("an interrupt gate that leads to another handler") }
}

/// Whether a gate still leads to the stub that early boot gave every exception
/// (`early_idt_handler_array`, of 9 bytes per vector, or 13 with landing pads). The processor
/// raises no such exception, and the memory of the stub has been freed.
fn is_early(symbols: &ImageSymbols, vector: u8, handler: u32) -> bool {
    const EXCEPTIONS: u8 = 32;
    let stubs = symbols.address("early_idt_handler_array");
    vector < EXCEPTIONS
        && stubs.is_some_and(|start| {
            [9_u32, 13].iter().any(|size| {
                size.checked_mul(vector.into()).and_then(|at| start.checked_add(at))
                    == Some(handler)
            })
        })
}

/// Whether a vector that no table lists may lead to this handler. An exception leads to its entry,
/// a device's vector to its stub, and a system vector to its handler.
fn is_entry(symbols: &ImageSymbols, vector: u8, handler: u32) -> bool {
    const FIRST_EXTERNAL: u8 = 0x20;
    let name = symbols.at(handler).unwrap_or_default();
    let Some(nth) = vector.checked_sub(FIRST_EXTERNAL) else {
        return name.starts_with("asm_exc_");
    };
    // One stub per vector, of 8 bytes, or 16 with landing pads.
    let is_stub = symbols.address("irq_entries_start").is_some_and(|start| {
        [8_u32, 16].iter().any(|size| {
            size.checked_mul(nth.into()).and_then(|at| start.checked_add(at)) == Some(handler)
        })
    });
    let is_spurious = symbols.address("spurious_entries_start").is_some_and(|start| {
        handler.checked_sub(start).is_some_and(|at| at.is_multiple_of(8) && at < 16 * 256)
    });
    is_stub || is_spurious || name.starts_with("asm_sysvec_")
}
