//! Path `iommu`: VFIO, iommufd, or the driver of a device with translated DMA programs an IOMMU to
//! let a device write to memory.
//!
//! match-proto: `int __iommu_map(struct iommu_domain *, unsigned long, phys_addr_t, size_t, int,
//! gfp_t)` (drivers/iommu/iommu.c, 6.1 and 6.12), in 7.2 `int iommu_map_nosync(…)` with the same
//! parameters. iommu_map, iommu_map_sg, and in 7.2 dma_iova_link call it. The tracepoint
//! `iommu:map` in both does not say whether the device may write.
//!
//! Observed only: no hook can refuse these calls, and no signal undoes a mapping. `file_open` can
//! deny opening VFIO and iommufd. Fails open if the kernel inlines these functions. With translated
//! DMA the kernel calls it for every packet, so it first checks whether the memory is protected.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use watchdog_common::path;

use crate::access::Access;
use crate::memory;

/// `IOMMU_WRITE` (include/linux/iommu.h).
const WRITE: u64 = 2;

/// Judges a mapping.
#[fentry]
pub(crate) fn iommu(ctx: FEntryContext) -> i32 {
    let start: u64 = ctx.arg(2);
    let bytes: u64 = ctx.arg(3);
    let protection: u64 = ctx.arg(4);
    let end = start.saturating_add(bytes);
    if protection & WRITE != 0 && memory::is_protected(start, end) {
        Access::to_node_memory(path::IOMMU, start, end).kill_or_report();
    }
    0
}
