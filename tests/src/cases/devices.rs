//! Devices that write memory by themselves: what a driver lets them write, what an IOMMU lets them
//! write, and the device files that control it.

use anyhow::{Result, ensure};

use super::drivers::{load, with_module};
use super::guard::{UNOWNED_MEMORY, configured};
use super::paths::{not_reported, reported};
use super::{List, Stage, Start};
use crate::attack_module::{BRIDGE_DOMAIN, Kind};

pub(super) const CASES: List = &[
    ("devices: without a guard VFIO opens, and modules let devices write", Start::Ready, all_work),
    (
        "devices: VFIO and iommufd do not open, and late ones are reported",
        Start::Devices,
        doors_are_closed,
    ),
    ("devices: a device's DMA to a node is seen", Start::Devices, dma_is_seen),
    ("devices: a map of the IOMMU to a node is seen", Start::Devices, iommu_is_seen),
];

/// The lines that [`Start::Devices`] adds to the configuration.
pub(super) const POLICY: &str = "[guard.paths]\niommu = \"deny\"\ndma = \"observe\"";
/// VFIO's container under another name. Its device number is always the same.
const CONTAINER: &str = "/mnt/container";
const IOMMUFD: &str = "/dev/iommu";

/// Check that all of it works without a guard. The machine has an IOMMU, and modules reach the
/// IOMMU and the devices. The devices of VFIO and iommufd open.
fn all_work(stage: &Stage) -> Result<()> {
    let iommu = Kind::Iommu { writes: true };
    for kind in [Kind::DmaPage, Kind::DmaResource, iommu] {
        with_module(stage, kind, UNOWNED_MEMORY, || Ok(()))?;
    }
    with_doors(stage, || {
        for door in doors(stage)? {
            ensure!(opens(stage, &door)?, "{door} does not open");
        }
        Ok(())
    })
}

/// Check that VFIO does not open before its module is loaded, with one alert. A module that is
/// loaded later must be reported as a gap in the guard. A guard that is armed when the modules are
/// loaded must deny VFIO and iommufd.
fn doors_are_closed(stage: &Stage) -> Result<()> {
    configured(stage, POLICY, || {
        let mark = stage.mark()?;
        closed(stage, CONTAINER)?;
        let entry = reported(stage, mark, "iommu", "denied")?;
        ensure!(entry.is("write-denied"), "{entry:?}");
        ensure!(entry.field("WATCHDOG_PHYS").is_empty(), "{entry:?}");
        with_doors(stage, || {
            stage.wait_for(mark, "a late module", |entry| {
                let message = entry.field("MESSAGE");
                entry.is("guard-tampered") && message.contains("iommu: a module of VFIO")
            })?;
            Ok(())
        })?;
        stage.wait_for(mark, "it is gone", |entry| entry.is("guard-armed"))?;
        Ok(())
    })?;
    stage.idle()?;
    with_doors(stage, || {
        configured(stage, POLICY, || {
            let doors = doors(stage)?;
            let mark = stage.mark()?;
            doors.iter().try_for_each(|door| closed(stage, door))?;
            reported(stage, mark, "iommu", "denied")?;
            stage.shell("exec 3</dev/full; exec 3<&-")?;
            let entries = stage.alerts(mark)?;
            ensure!(entries.len() == doors.len(), "{entries:#?}");
            Ok(())
        })
    })
}

/// Check that a driver that lets a device write to a node is reported with the address, whether it
/// passes a page or an address. A driver that lets it write elsewhere must not be reported. If an
/// IOMMU translates, the report must have the node's address as well.
fn dma_is_seen(stage: &Stage) -> Result<()> {
    configured(stage, POLICY, || {
        let target = stage.machine().truth(2)?.text_phys_start + 0x4000;
        // Translated DMA takes the path of the IOMMU, and before 7.2 no other.
        stage.shell(&format!("echo identity >{BRIDGE_DOMAIN}"))?;
        let result = [Kind::DmaPage, Kind::DmaResource]
            .into_iter()
            .try_for_each(|kind| seen(stage, kind, target, "dma"));
        stage.shell(&format!("echo DMA >{BRIDGE_DOMAIN}"))?;
        result?;
        let mark = stage.mark()?;
        with_module(stage, Kind::DmaPage, target, || Ok(()))?;
        reported(stage, mark, "iommu", "observed").map(drop)
    })
}

/// Check that an IOMMU mapping is reported if it lets a device write to a node, and not if it only
/// lets the device read.
fn iommu_is_seen(stage: &Stage) -> Result<()> {
    configured(stage, POLICY, || {
        let target = stage.machine().truth(2)?.text_phys_start + 0x5000;
        let mark = stage.mark()?;
        with_module(stage, Kind::Iommu { writes: false }, target, || Ok(()))?;
        not_reported(stage, mark, "iommu")?;
        seen(stage, Kind::Iommu { writes: true }, target, "iommu")
    })
}

/// Checks that an act of a module is reported once for a node's memory, and not for memory of no
/// node.
fn seen(stage: &Stage, kind: Kind, target: u64, path: &str) -> Result<()> {
    let mark = stage.mark()?;
    with_module(stage, kind, UNOWNED_MEMORY, || Ok(()))?;
    not_reported(stage, mark, path)?;
    with_module(stage, kind, target, || Ok(()))?;
    let entry = reported(stage, mark, path, "observed")?;
    ensure!(entry.is("write-observed"), "{entry:?}");
    let expected = [
        ("WATCHDOG_NODE", "service-2"),
        ("WATCHDOG_COMM", "insmod"),
        ("WATCHDOG_PHYS", &format!("{target:#x}")),
        ("WATCHDOG_LENGTH", "4096"),
    ];
    for (field, value) in expected {
        ensure!(entry.field(field) == value, "{kind:?}: {field} of {entry:?}");
    }
    let entries = stage.alerts(mark)?;
    let of_it = entries.iter().filter(|entry| entry.field("WATCHDOG_PATH") == path);
    ensure!(of_it.count() == 1, "{kind:?}: {entries:#?}");
    Ok(())
}

/// Runs a case with the module of VFIO loaded, and that of iommufd if the kernel has it.
fn with_doors(stage: &Stage, case: impl FnOnce() -> Result<()>) -> Result<()> {
    let names: &[&str] = if has_iommufd(stage) { &["iommufd", "vfio"] } else { &["vfio"] };
    let modules = stage.kernel.modules(names.iter().copied())?;
    let mut remove = String::new();
    for module in &modules {
        load(stage, &module.name, &module.read()?, "")?;
        remove.insert_str(0, &format!("{} ", module.name));
    }
    let result = case();
    let removed = stage.shell(&format!("rmmod {remove}"));
    result.and(removed.map(drop))
}

/// Whether the kernel has iommufd, which came with 6.2.
fn has_iommufd(stage: &Stage) -> bool {
    stage.kernel.modules(["iommufd"]).is_ok()
}

/// The devices that exist on this kernel.
fn doors(stage: &Stage) -> Result<Vec<String>> {
    let mut doors = vec![CONTAINER.to_owned()];
    if has_iommufd(stage) {
        doors.push(IOMMUFD.to_owned());
    }
    Ok(doors)
}

fn closed(stage: &Stage, door: &str) -> Result<()> {
    ensure!(!opens(stage, door)?, "{door} was opened");
    Ok(())
}

/// Whether a device opens. If it does not, the reason must be a lack of permission.
fn opens(stage: &Stage, door: &str) -> Result<bool> {
    let script = format!(
        "mount -t tmpfs none /mnt && mknod {CONTAINER} c 10 196
         sh -c 'exec 3<{door}'; status=$?
         umount /mnt; exit $status"
    );
    let output = stage.machine().node0().shell(&script)?;
    let is_denied = output.to_string().contains("Operation not permitted");
    ensure!(output.success() || is_denied, "{door}: {output}");
    Ok(output.success())
}
