//! Devices through which a process programs an IOMMU.

/// Numbers of the devices through which a process programs an IOMMU, or [`DmaDevices::ABSENT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DmaDevices {
    /// Single devices: the major number above 20 bits of the minor.
    pub numbers: [u32; 2],
    /// Major numbers that represent all their devices.
    pub majors: [u32; 2],
}

impl DmaDevices {
    /// The number of a device that this kernel does not have. No character device has this number.
    pub const ABSENT: u32 = 0;
    /// No device at all.
    pub const NONE: Self = Self { numbers: [Self::ABSENT; 2], majors: [Self::ABSENT; 2] };
}

const _: () = assert!(size_of::<DmaDevices>() == 4 * 4);
