//! The numbers of the devices through which a process programs an IOMMU: VFIO and iommufd. An
//! absent device has a number that no character device has.

use watchdog_common::DmaDevices;

use crate::identity;

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static DMA_DEVICES: DmaDevices = DmaDevices::NONE;

/// `/dev/full` is 1:7 (`DEVLIST`, drivers/char/mem.c). The self-test opens it without harm.
const PROBED: u32 = (1 << 20) | 7;
const MINOR_BITS: u32 = 20;

/// Whether a device is one of them, or the device that the self-test opens in their place.
#[inline(always)]
pub(crate) fn contains(number: u32) -> bool {
    // SAFETY: a static of this program.
    let DmaDevices { numbers: [first, second], majors: [groups, devices] } =
        unsafe { core::ptr::read_volatile(&raw const DMA_DEVICES) };
    let major = number >> MINOR_BITS;
    let is_known = number == first || number == second || major == groups || major == devices;
    is_known || (number == PROBED && identity::is_tester())
}
