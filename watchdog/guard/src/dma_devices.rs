//! The devices by which a process makes an IOMMU map memory: `/dev/vfio/*` and `/dev/iommu`.
//!
//! VFIO's container has a fixed number. The kernel assigns the other numbers when a module is
//! loaded (drivers/vfio/group.c, device_cdev.c; drivers/iommu/iommufd/main.c).

use watchdog_common::DmaDevices;

use super::processes::Processes;

/// Files below `/proc`.
const MISC: &str = "misc";
const DEVICES: &str = "devices";
const MISC_MAJOR: u32 = 10;
/// `VFIO_MINOR` (include/linux/miscdevice.h): `/dev/vfio/vfio`. iommufd can also provide this
/// device.
const VFIO_MINOR: u32 = 196;
const MINOR_BITS: u32 = 20;
const IOMMUFD: &str = "iommu";
/// The majors of groups and of devices (`alloc_chrdev_region()` in the files above).
const MAJORS: [&str; 2] = ["vfio", "vfio-dev"];

/// The devices that this kernel has now. A list that cannot be read counts as empty.
pub(super) fn of_this_kernel() -> DmaDevices {
    let machine = Processes::of_machine();
    let read = |path| machine.and_then(|it| it.read(path).ok()).unwrap_or_default();
    parse(&read(MISC), &read(DEVICES))
}

/// `None` if a guard that knows the devices `known` denies opening every current device; otherwise
/// why it does not.
pub(super) fn unknown_to(known: &DmaDevices) -> Option<String> {
    let now = of_this_kernel();
    let is_absent = |number: &u32| *number == DmaDevices::ABSENT;
    let is_known = |number: &u32| is_absent(number) || known.numbers.contains(number);
    let is_known_major = |major: &u32| is_absent(major) || known.majors.contains(major);
    if now.numbers.iter().all(is_known) && now.majors.iter().all(is_known_major) {
        return None;
    }
    Some(
        "a module of VFIO or iommufd was loaded after the guard was armed, so opening its devices \
         is not denied: restart the watchdog"
            .to_owned(),
    )
}

/// The number before a name.
fn number_of(lines: &str, name: &str) -> Option<u32> {
    let mut entries = lines.lines().filter_map(|line| line.trim().split_once(' '));
    entries.find(|(_, it)| it.trim() == name).and_then(|(number, _)| number.parse().ok())
}

/// The lines of `/proc/devices` about character devices. Block devices may have the same names and
/// numbers.
fn characters(devices: &str) -> &str {
    devices.split("Block devices:").next().unwrap_or_default()
}

fn parse(misc: &str, devices: &str) -> DmaDevices {
    let characters = characters(devices);
    let misc_device = |minor: u32| MISC_MAJOR << MINOR_BITS | minor;
    let iommufd = number_of(misc, IOMMUFD).map_or(DmaDevices::ABSENT, misc_device);
    DmaDevices {
        numbers: [misc_device(VFIO_MINOR), iommufd],
        majors: MAJORS.map(|name| number_of(characters, name).unwrap_or(DmaDevices::ABSENT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: &str = "Character devices:\n  1 mem\n 10 misc\n242 vfio\n511 vfio-dev\n\nBlock \
        devices:\n  8 sd\n250 vfio\n";

    /// Check that numbers are read from the right lists by the whole name. Check that the number of
    /// VFIO's container is known without its module.
    #[test]
    fn numbers() {
        let container = (10 << 20) | 196;
        assert_eq!(parse("", ""), DmaDevices { numbers: [container, 0], majors: [0, 0] });
        let dma_devices = parse(" 59 iommu\n 60 iommufd\n196 vfio\n", DEVICES);
        assert_eq!(
            dma_devices,
            DmaDevices { numbers: [container, (10 << 20) | 59], majors: [242, 511] }
        );
    }
}
