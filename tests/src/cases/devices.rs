//! Devices that write to memory by themselves: what a driver lets them, what an IOMMU lets them,
//! and who may tell it to.

use anyhow::{Result, ensure};

use super::drivers::{load, with_module};
use super::guard::{NOBODYS, configured};
use super::paths::{not_told, told};
use super::{List, Stage, Start};
use crate::attack_module::{BRIDGE_DOMAIN, Kind};

pub(super) const CASES: List = &[
    ("devices: without a guard VFIO opens, and modules let devices write", Start::Ready, all_work),
    (
        "devices: VFIO and iommufd do not open, and late ones are told",
        Start::Devices,
        doors_are_closed,
    ),
    ("devices: a device's DMA to a node is seen", Start::Devices, dma_is_seen),
    ("devices: a map of the IOMMU to a node is seen", Start::Devices, iommu_is_seen),
];

/// What [`Start::Devices`] adds to the preset.
pub(super) const POLICY: &str = "[guard.paths]\niommu = \"deny\"\ndma = \"observe\"";
/// VFIO's container, under a name of its own: its number is always the same.
const CONTAINER: &str = "/mnt/container";
const IOMMUFD: &str = "/dev/iommu";

/// Check that without a guard all of it works: the machine has an IOMMU, modules reach it and the
/// devices, and the devices of VFIO and iommufd open.
fn all_work(stage: &Stage) -> Result<()> {
    let iommu = Kind::Iommu { writes: true };
    for kind in [Kind::DmaPage, Kind::DmaResource, iommu] {
        with_module(stage, kind, NOBODYS, || Ok(()))?;
    }
    with_doors(stage, || {
        for door in doors(stage)? {
            ensure!(opens(stage, &door)?, "{door} does not open");
        }
        Ok(())
    })
}

/// Check that VFIO does not open before its module is there, with one alert; that a module loaded
/// later is told as a hole in the guard, and what a guard that was there later does with it.
fn doors_are_closed(stage: &Stage) -> Result<()> {
    configured(stage, POLICY, || {
        let mark = stage.mark()?;
        closed(stage, CONTAINER)?;
        let entry = told(stage, mark, "iommu", "denied")?;
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
            told(stage, mark, "iommu", "denied")?;
            stage.shell("exec 3</dev/full; exec 3<&-")?;
            let entries = stage.alerts(mark)?;
            ensure!(entries.len() == doors.len(), "{entries:#?}");
            Ok(())
        })
    })
}

/// Check that a driver which lets a device write to a node is reported with the address, given as a
/// page or by its address; one that lets it write elsewhere is not; and that what an IOMMU
/// translates is reported with the node's address as well.
fn dma_is_seen(stage: &Stage) -> Result<()> {
    configured(stage, POLICY, || {
        let target = stage.machine().truth(2)?.text_phys_start + 0x4000;
        // What is translated goes the IOMMU's path, and before 7.2 no other.
        stage.shell(&format!("echo identity >{BRIDGE_DOMAIN}"))?;
        let result = [Kind::DmaPage, Kind::DmaResource]
            .into_iter()
            .try_for_each(|kind| seen(stage, kind, target, "dma"));
        stage.shell(&format!("echo DMA >{BRIDGE_DOMAIN}"))?;
        result?;
        let mark = stage.mark()?;
        with_module(stage, Kind::DmaPage, target, || Ok(()))?;
        told(stage, mark, "iommu", "observed").map(drop)
    })
}

/// Check that a map of an IOMMU which lets a device write to a node is reported, and one that only
/// lets it read is not.
fn iommu_is_seen(stage: &Stage) -> Result<()> {
    configured(stage, POLICY, || {
        let target = stage.machine().truth(2)?.text_phys_start + 0x5000;
        let mark = stage.mark()?;
        with_module(stage, Kind::Iommu { writes: false }, target, || Ok(()))?;
        not_told(stage, mark, "iommu")?;
        seen(stage, Kind::Iommu { writes: true }, target, "iommu")
    })
}

/// Checks that what a module does to memory that is nobody's is not told, and to a node's once.
fn seen(stage: &Stage, kind: Kind, target: u64, path: &str) -> Result<()> {
    let mark = stage.mark()?;
    with_module(stage, kind, NOBODYS, || Ok(()))?;
    not_told(stage, mark, path)?;
    with_module(stage, kind, target, || Ok(()))?;
    let entry = told(stage, mark, path, "observed")?;
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

/// Runs a case with VFIO's module loaded, and iommufd's where the kernel has it.
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

/// iommufd came with 6.2.
fn has_iommufd(stage: &Stage) -> bool {
    stage.kernel.modules(["iommufd"]).is_ok()
}

/// The devices there are now.
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

/// Whether a device opens; if not, for want of permission and nothing else.
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
