//! Interrupt gates by the kernel's own tables (`struct idt_data`, arch/x86/kernel/idt.c): they are
//! gone from memory once it has booted, and still stand in its image.

use serde::{Deserialize, Serialize};

use super::ImageSymbols;
use crate::image::KernelImage;

/// A handler that a table gives a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The vector.
    pub vector: u8,
    /// The handler's image offset.
    pub handler: u32,
}

/// The tables whose entries are installed for good. What a kernel has depends on its options.
const TABLES: [&str; 5] = ["def_idts", "apic_idts", "ia32_idt", "early_idts", "early_pf_idts"];
/// Bytes of an entry: vector, segment, bits, address.
const ENTRY: u32 = 24;
/// Most entries of one table.
const MAX_ENTRIES: u32 = 64;

/// The gates of all tables.
pub(super) fn of_image(image: &KernelImage, symbols: &ImageSymbols) -> Vec<Gate> {
    let stext = image.vendor.text_virt().0;
    let mut gates = Vec::new();
    for table in TABLES {
        let Some(start) = symbols.address(table) else { continue };
        for n in 0..MAX_ENTRIES {
            let at = start.saturating_add(n.saturating_mul(ENTRY));
            // Another symbol is another table.
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
