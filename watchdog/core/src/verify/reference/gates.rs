//! Interrupt gates from the kernel's own tables (`struct idt_data`, arch/x86/kernel/idt.c). The
//! kernel frees these tables once it has booted, but its image still has them.

use serde::{Deserialize, Serialize};

use super::ImageSymbols;
use crate::image::KernelImage;

/// The handler that a table assigns to a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The vector.
    pub vector: u8,
    /// The handler's image offset.
    pub handler: u32,
}

/// The tables whose gates stay installed. A kernel's options decide which of them it has.
const TABLES: [&str; 5] = ["def_idts", "apic_idts", "ia32_idt", "early_idts", "early_pf_idts"];
/// Bytes of an entry: vector, segment, bits, address.
const ENTRY: u32 = 24;
/// Largest number of entries in one table.
const MAX_ENTRIES: u32 = 64;

/// Reads the gates of all tables.
pub(super) fn of_image(image: &KernelImage, symbols: &ImageSymbols) -> Vec<Gate> {
    let stext = image.vendor.text_virt().0;
    let mut gates = Vec::new();
    for table in TABLES {
        let Some(start) = symbols.address(table) else { continue };
        for n in 0..MAX_ENTRIES {
            let at = start.saturating_add(n.saturating_mul(ENTRY));
            // Another symbol begins another table.
            if n > 0 && symbols.at(at).is_some() {
                break;
            }
            let Some(gate) = image.bytes(at, ENTRY).and_then(|entry| gate(entry, stext)) else {
                break;
            };
            gates.push(gate);
        }
    }
    gates
}

fn gate(entry: &[u8], stext: u64) -> Option<Gate> {
    const KERNEL_CS: u32 = 0x10;
    let word = |at: usize| Some(u32::from_le_bytes(*entry.get(at..)?.first_chunk()?));
    let vector = u8::try_from(word(0)?).ok().filter(|_| word(4) == Some(KERNEL_CS))?;
    let handler = u64::from_le_bytes(*entry.get(16..)?.first_chunk()?);
    Some(Gate { vector, handler: u32::try_from(handler.checked_sub(stext)?).ok()? })
}
