//! Whether a kernel uses physical memory as its RAM, by its own page tables.

use super::page_tables::translate;
use super::{Kernel, bytes};
use crate::memory::{Memory, PhysAddr, VirtAddr};

/// Where the direct mapping begins if KASLR does not move it: `__PAGE_OFFSET_BASE_L4` and `…_L5`
/// (arch/x86/include/asm/page_64_types.h, 5.10 to 7.2).
const BASE_4: u64 = 0xffff_8880_0000_0000;
const BASE_5: u64 = 0xff11_0000_0000_0000;

/// Whether a kernel's direct mapping has the page at `at`. The mapping covers the RAM that the
/// kernel uses, and no other memory (`init_memory_mapping()`, arch/x86/mm/init.c, 5.10 to 7.2).
///
/// The memory of a virtual machine is RAM of its host. Another node's memory is not: no kernel but
/// this one decides what its page tables map.
#[must_use]
pub fn is_ram_of(memory: &dyn Memory, kernel: &Kernel, at: PhysAddr) -> bool {
    let tables = kernel.tables();
    let translated = |virt| translate(memory, &tables, virt);
    // KASLR stores the base there (arch/x86/kernel/head64.c).
    let variable = kernel.symbols.address("page_offset_base").and_then(translated);
    let moved = variable.and_then(|it| bytes::copy(memory, it.phys, 8));
    let moved = moved.and_then(|it| bytes::u64_at(&it, 0));
    let base = moved.unwrap_or(if kernel.paging_levels == 5 { BASE_5 } else { BASE_4 });
    let virt = VirtAddr(base).checked_add(at.0);
    virt.and_then(translated).is_some_and(|mapped| mapped.phys == at)
}

#[cfg(test)]
mod tests {
    use super::super::tests::made_up::{FIRST, LARGE, Machine, RW, SECOND, TABLE};
    use super::*;

    /// Check that memory is RAM of a kernel only if the direct mapping has it at its address.
    #[test]
    fn direct_mapping() {
        let machine = Machine::with(FIRST);
        let kernel = machine.kernel();
        let at = PhysAddr(SECOND.text);
        assert!(!is_ram_of(&machine, &kernel, at));
        let (level4, level3) = (0x190_0000, 0x191_0000);
        machine.entry(kernel.page_table_root.0, (BASE_5 >> 48) & 511, level4 | TABLE);
        machine.entry(level4, 0, level3 | TABLE);
        machine.entry(level3, 0, RW | LARGE);
        assert!(is_ram_of(&machine, &kernel, at));
        assert!(!is_ram_of(&machine, &kernel, PhysAddr(1 << 30)));
        machine.entry(level3, 0, (1 << 30) | RW | LARGE);
        assert!(!is_ram_of(&machine, &kernel, at), "other memory is mapped there");
    }
}
