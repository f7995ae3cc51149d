//! The devices through which a process has an IOMMU map memory: VFIO and iommufd, by their numbers.

use watchdog_common::Doors;

use crate::identity;

/// Filled in by the loader and frozen.
#[unsafe(no_mangle)]
static DOORS: Doors = Doors::CLOSED;

/// `/dev/full` is 1:7 (`DEVLIST`, drivers/char/mem.c). Nobody is harmed when the watchdog opens it.
const STAND_IN: u32 = (1 << 20) | 7;
const MINOR_BITS: u32 = 20;

/// Whether a device is one of them, or the watchdog's own stand-in for them.
#[inline(always)]
pub(crate) fn is_one(number: u32) -> bool {
    // SAFETY: a static of this program.
    let Doors { numbers: [first, second], majors: [groups, devices] } =
        unsafe { core::ptr::read_volatile(&raw const DOORS) };
    let major = number >> MINOR_BITS;
    let is_door = number == first || number == second || major == groups || major == devices;
    is_door || (number == STAND_IN && identity::is_prover())
}
