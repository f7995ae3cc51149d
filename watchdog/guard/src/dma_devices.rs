//! The devices through which a process has an IOMMU map memory: `/dev/vfio/*` and `/dev/iommu`.
//!
//! But for VFIO's container their numbers are given out when a module is loaded
//! (drivers/vfio/group.c, device_cdev.c; drivers/iommu/iommufd/main.c), and known from then on.

use watchdog_common::DmaDevices;

use super::processes::Processes;

/// Below `/proc`.
const MISC: &str = "misc";
const DEVICES: &str = "devices";
const MISC_MAJOR: u32 = 10;
/// `VFIO_MINOR` (include/linux/miscdevice.h): `/dev/vfio/vfio`, also where iommufd stands in for
/// it.
const VFIO_MINOR: u32 = 196;
const MINOR_BITS: u32 = 20;
const IOMMUFD: &str = "iommu";
/// Groups and devices (`alloc_chrdev_region()` in the files above).
const MAJORS: [&str; 2] = ["vfio", "vfio-dev"];

/// Those that this kernel has now. A list that cannot be read has none.
pub(super) fn of_this_kernel() -> DmaDevices {
    let machine = Processes::of_machine();
    let read = |path| machine.and_then(|it| it.read(path).ok()).unwrap_or_default();
    parse(&read(MISC), &read(DEVICES))
}

/// Why opening what is there now is not denied by a guard that knows others.
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

/// The number that stands before a name.
fn number_of(lines: &str, name: &str) -> Option<u32> {
    let mut entries = lines.lines().filter_map(|line| line.trim().split_once(' '));
    entries.find(|(_, it)| it.trim() == name).and_then(|(number, _)| number.parse().ok())
}

/// What `/proc/devices` says of character devices: block devices may have the same names and
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

    /// Check that numbers are taken from the right lists by the whole name, and that the container
    /// is known without its module.
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
