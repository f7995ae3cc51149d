//! Path `dma`: a driver gives a device memory to write, through the kernel's DMA interface.
//!
//! match-proto: `dma_addr_t dma_map_phys(struct device *, phys_addr_t, size_t, enum
//! dma_data_direction, unsigned long)` (kernel/dma/mapping.c, 7.2), which dma_map_page_attrs and
//! dma_map_resource call; before 7.2 these two: `dma_addr_t dma_map_resource(…)` with the same
//! parameters, and `dma_addr_t dma_map_page_attrs(struct device *, struct page *, size_t, size_t,
//! enum dma_data_direction, unsigned long)` (6.1, 6.12).
//!
//! Observed only. This is not a barrier, because a hostile driver programs its device without this
//! interface. It detects a driver that was given wrong addresses. Fails open: scatterlists
//! (dma_map_sg) are not examined. A page is not recognized if the returned address is not its own:
//! if an IOMMU translates it (path `iommu` sees it), if it is bounced, or under AMD's memory
//! encryption.
//!
//! The kernel calls it for every packet and block, so the preset `standard` leaves it off. Without
//! a report it runs about 90 instructions, which is about 30 ns on a current processor (estimated
//! from that number).

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

/// Judges memory given by its address.
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

/// Judges memory given as a page. The device gets the page's address, unless the kernel translates
/// or bounces it.
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

/// The address of the `struct page`, as a number: the verifier allows no arithmetic with the
/// argument itself.
#[inline(always)]
fn page(ctx: &FExitContext) -> Option<u64> {
    let mut page = 0;
    // SAFETY: the kernel's own context, and room for a value.
    let failed = unsafe { bpf_get_func_arg(ctx.as_ptr(), 1, &raw mut page) } != 0;
    (!failed).then_some(page)
}

/// Whether a `struct page` is at the place of an address in the array of all `struct page`s.
#[inline(always)]
fn is_address_of(address: u64, page: u64) -> bool {
    let entry = (address >> PAGE_SHIFT).wrapping_mul(PAGE_STRUCT);
    let is_page = address.trailing_zeros() >= PAGE_SHIFT;
    is_page && page.wrapping_sub(entry).is_multiple_of(ALIGNMENT)
}
