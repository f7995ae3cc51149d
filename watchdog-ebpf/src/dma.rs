//! Path `dma`: a driver gives a device memory to write, by the kernel's own interface for it.
//!
//! match-proto: `dma_addr_t dma_map_phys(struct device *, phys_addr_t, size_t, enum
//! dma_data_direction, unsigned long)` (kernel/dma/mapping.c, 7.2), behind dma_map_page_attrs and
//! dma_map_resource; before it these two: `dma_addr_t dma_map_resource(…)` with the same
//! parameters, and `dma_addr_t dma_map_page_attrs(struct device *, struct page *, size_t, size_t,
//! enum dma_data_direction, unsigned long)` (6.1, 6.12).
//!
//! Observed only, and no wall: a driver that means harm programs its device without asking. What it
//! shows is a driver that was given wrong addresses. Fails open: scatterlists (dma_map_sg) are not
//! looked through, and pages whose address is not what is returned are not known: those that an
//! IOMMU translates (path `iommu` sees them), that are bounced, or under AMD's memory encryption.
//!
//! Called for every packet and block: some ninety instructions where nothing is reported (some 30
//! ns on a processor of today, by their number), so the preset `standard` leaves it off.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_func_arg;
use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};
use watchdog_common::{PAGE_STRUCT, path};

use crate::access::Access;
use crate::memory::{self, PAGE_SHIFT};

/// `DMA_TO_DEVICE` (include/linux/dma-direction.h): the device only reads.
const TO_DEVICE: u32 = 1;
/// `vmemmap_base` is a multiple of this (`kernel_randomize_memory()`, arch/x86/mm/kaslr.c).
const ALIGNMENT: u64 = 1 << 30;

/// Judges memory that is given by its address.
#[fentry]
pub(crate) fn dma_phys(ctx: FEntryContext) -> i32 {
    let start: u64 = ctx.arg(1);
    let bytes: u64 = ctx.arg(2);
    let direction: u32 = ctx.arg(3);
    let end = start.saturating_add(bytes);
    if direction != TO_DEVICE && memory::is_protected(start, end) {
        Access::to_node_memory(path::DMA, start, end).kill_or_report();
    }
    0
}

/// Judges memory that is given as a page. Its address is what the device is told, unless something
/// stands between the two.
#[fexit]
pub(crate) fn dma_page(ctx: FExitContext) -> i32 {
    let offset: u64 = ctx.arg(2);
    let bytes: u64 = ctx.arg(3);
    let direction: u32 = ctx.arg(4);
    let start: u64 = ctx.arg(6);
    let end = start.saturating_add(bytes);
    if direction != TO_DEVICE
        && memory::is_protected(start, end)
        && let Some(page) = page(&ctx)
        && is_address_of(start.wrapping_sub(offset), page)
    {
        Access::to_node_memory(path::DMA, start, end).kill_or_report();
    }
    0
}

/// Where the `struct page` is, as a number: the verifier allows no arithmetic with the argument
/// itself.
#[inline(always)]
fn page(ctx: &FExitContext) -> Option<u64> {
    let mut page = 0;
    // SAFETY: the kernel's own context, and room for a value.
    let failed = unsafe { bpf_get_func_arg(ctx.as_ptr(), 1, &raw mut page) } != 0;
    (!failed).then_some(page)
}

/// Whether a page's `struct page` lies where that of an address does, in the array of all of them.
#[inline(always)]
fn is_address_of(address: u64, page: u64) -> bool {
    let entry = (address >> PAGE_SHIFT).wrapping_mul(PAGE_STRUCT);
    let is_page = address.trailing_zeros() >= PAGE_SHIFT;
    is_page && page.wrapping_sub(entry).is_multiple_of(ALIGNMENT)
}
