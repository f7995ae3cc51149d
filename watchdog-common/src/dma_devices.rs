//! Devices through which a process programs an IOMMU.

/// Numbers of the devices through which a process has an IOMMU map memory, or
/// [`DmaDevices::ABSENT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DmaDevices {
    /// Devices: the major number above 20 bits of the minor.
    pub numbers: [u32; 2],
    /// Major numbers that stand for all of their devices.
    pub majors: [u32; 2],
}

impl DmaDevices {
    /// The number of a device that this kernel does not have: no character device has it.
    pub const ABSENT: u32 = 0;
    /// No device at all.
    pub const NONE: Self = Self { numbers: [Self::ABSENT; 2], majors: [Self::ABSENT; 2] };
}

const _: () = assert!(size_of::<DmaDevices>() == 4 * 4);
