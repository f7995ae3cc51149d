//! Witness: the kernel's own entry for its text in `/proc/iomem`, read from memory.
//!
//! `code_resource` (arch/x86/kernel/setup.c, 5.10 to 7.2) is a `struct resource`
//! (include/linux/ioport.h): start, end (inclusive) and name, eight bytes each, then flags. During
//! boot, the kernel fills in the physical addresses of `_text` and of the last byte before
//! `_etext`. This resource is the only record of the text's place that is physical and exact to the
//! byte. The name is a pointer into the same image, and gives the virtual address as well.

use super::Budget;
use super::bytes::{copy, u64_at};
use super::explain::SPENT;
use crate::memory::{Memory, PhysAddr, VirtAddr};

/// `IORESOURCE_BUSY | IORESOURCE_SYSTEM_RAM`, the flags of a resource inside RAM.
pub(super) const FLAGS: u64 = 0x8100_0200;
/// The first half of the flags in memory, which the scan searches for.
pub(super) const FLAGS_LOW: u32 = 0x8100_0200;
/// Bytes from the start of the structure to its flags.
const TO_FLAGS: u64 = 24;
const NAME: &[u8] = b"Kernel code\0";
/// The text starts at a multiple of this (`CONFIG_PHYSICAL_ALIGN`), physically and virtually.
const ALIGN: u64 = 2 << 20;
/// Largest text, and largest distance from it to the name, that are believed.
const MAX_IMAGE: u64 = 1 << 30;

/// Cost of a search for the name, in bytes examined: 64 for each place where it may be.
const CLAIM_COST: usize = (MAX_IMAGE / ALIGN) as usize * 64;

/// The claim of the entry about a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceClaim {
    /// Physical address of `_text`.
    pub phys: PhysAddr,
    /// Virtual address of `_text`.
    pub virt: VirtAddr,
    /// Bytes to `_etext`.
    pub size: u64,
}

/// Reads the resource whose flags are at physical `flags_at`; `None` if it is not `Kernel code`.
#[must_use]
pub fn claim(
    memory: &dyn Memory,
    flags_at: PhysAddr,
    budget: &mut Budget,
) -> Option<ResourceClaim> {
    examine(memory, flags_at, budget).ok()
}

/// As [`claim`]; the error is the check that failed.
pub(super) fn examine(
    memory: &dyn Memory,
    flags_at: PhysAddr,
    budget: &mut Budget,
) -> Result<ResourceClaim, &'static str> {
    let (start, size, name, flags) =
        fields(memory, flags_at).ok_or("the resource cannot be read, or ends before it starts")?;
    let is_image = name >> 31 == u64::MAX >> 31;
    if flags != FLAGS || start == 0 || !start.is_multiple_of(ALIGN) || size > MAX_IMAGE || !is_image
    {
        return Err("its flags, place, size or name are not those of a kernel text's resource");
    }
    // Both addresses of the image are multiples of the alignment. The name's offset in a large page
    // is therefore known, and only the page must be found.
    let offset = name % ALIGN;
    budget.spend(CLAIM_COST).ok_or(SPENT)?;
    let claim = (0..MAX_IMAGE / ALIGN).find_map(|page| {
        let distance = page.checked_mul(ALIGN)?.checked_add(offset)?;
        let found = copy(memory, PhysAddr(start.checked_add(distance)?), NAME.len())?;
        (found == NAME).then_some(ResourceClaim {
            phys: PhysAddr(start),
            virt: VirtAddr(name.checked_sub(distance)?),
            size,
        })
    });
    claim.ok_or("its name is not `Kernel code` at any place where the image maps it")
}

/// Start, size, name and flags of the resource whose flags are at physical `flags_at`.
fn fields(memory: &dyn Memory, flags_at: PhysAddr) -> Option<(u64, u64, u64, u64)> {
    let at = PhysAddr(flags_at.0.checked_sub(TO_FLAGS)?);
    let resource = copy(memory, at, 32)?;
    let (start, last) = (u64_at(&resource, 0)?, u64_at(&resource, 8)?);
    let size = last.checked_sub(start)?.checked_add(1)?;
    Some((start, size, u64_at(&resource, 16)?, u64_at(&resource, 24)?))
}
