//! The first instructions of a node's processor: from real mode directly to long mode, then to the
//! kernel's 64-bit entry point.

use anyhow::{Context, Result, ensure};
use vm_memory::{Bytes, VolatileMemory};
use watchdog_tests::layout::TRAMPOLINE;

use crate::memory;

/// Target of the trampoline. All addresses are physical and below 4 GiB.
pub(crate) struct Target {
    /// Top level of page tables that map all of these addresses one to one.
    pub(crate) page_tables: u64,
    /// The node's boot_params.
    pub(crate) boot_params: u64,
    /// The kernel's 64-bit entry point.
    pub(crate) entry: u64,
}

std::arch::global_asm!(include_str!("trampoline.S"), options(att_syntax));

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_target: u8;
    static trampoline_end: u8;
}

/// Writes the trampoline to its page. All nodes use the same page, so they are started one after
/// another.
pub(crate) fn write(target: &Target) -> Result<()> {
    let page = memory::map_page(TRAMPOLINE)
        .context("the trampoline's page must be reserved: add `memmap=0x80000$0x20000`")?;
    let (code, target_at) = code();
    ensure!(code.len() <= page.size(), "the trampoline is longer than a page");
    let bytes = page.as_volatile_slice();
    bytes.write_slice(code, 0)?;
    for (index, address) in
        [target.page_tables, target.boot_params, target.entry].into_iter().enumerate()
    {
        bytes.write_slice(&address.to_le_bytes(), target_at + 8 * index)?;
    }
    Ok(())
}

/// Returns the code to copy, and the offset in it of the target's three addresses.
fn code() -> (&'static [u8], usize) {
    // SAFETY: the three symbols are labels in one section of this program, in this order
    // (trampoline.S). The bytes between them are initialised, are never written, and live as long
    // as the program.
    unsafe {
        let start = &raw const trampoline_start;
        let length = (&raw const trampoline_end).offset_from_unsigned(start);
        let target_at = (&raw const trampoline_target).offset_from_unsigned(start);
        (std::slice::from_raw_parts(start, length), target_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the code begins with `cli` and fits its page, and that the addresses of its jumps
    /// are inside the copied bytes.
    #[test]
    fn code_is_whole() {
        let (code, target_at) = code();
        assert_eq!(code[0], 0xfa);
        assert!(code.len() <= 0x1000);
        assert_eq!(target_at + 24, code.len());
    }
}
