//! Reads from sysfs whether an IOMMU confines node 0's devices.

use std::fs;
use std::path::Path;

/// Whether every PCI device below the folder is behind an IOMMU that translates for it
/// (Documentation/ABI/testing/sysfs-kernel-iommu_groups, 6.1 to 7.2). False for a folder that
/// cannot be read or has no device.
pub(super) fn confines_devices(folder: &Path) -> bool {
    let Ok(devices) = fs::read_dir(folder) else { return false };
    let mut count = 0;
    let all = devices.flatten().all(|device| {
        count += 1;
        let kind = fs::read_to_string(device.path().join("iommu_group/type")).unwrap_or_default();
        matches!(kind.trim(), "DMA" | "DMA-FQ" | "blocked")
    });
    all && count > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that devices are confined only if there are any, and each is in a group whose domain
    /// translates or blocks.
    #[test]
    fn each_device() {
        let folder = tempfile::tempdir().expect("a folder");
        let add = |device: &str, kind: &str| {
            let group = folder.path().join(device).join("iommu_group");
            fs::create_dir_all(&group).expect("a folder");
            fs::write(group.join("type"), kind).expect("written");
        };
        let confined = || confines_devices(folder.path());
        assert!(!confined() && !confines_devices(&folder.path().join("none")));
        add("0000:00:01.0", "DMA\n");
        add("0000:00:02.0", "DMA-FQ\n");
        add("0000:00:03.0", "blocked\n");
        assert!(confined());
        add("0000:00:04.0", "identity\n");
        assert!(!confined());
        fs::remove_dir_all(folder.path().join("0000:00:04.0")).expect("removed");
        assert!(confined());
        fs::create_dir(folder.path().join("0000:00:05.0")).expect("a device without a group");
        assert!(!confined());
    }
}
