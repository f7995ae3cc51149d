//! Ways around the kernel to hardware, which this machine has: by PCI configuration space, by
//! ports, and by modules that are told addresses.

use anyhow::{Result, ensure};

use super::drivers::load;
use super::{List, Stage, Start};

pub(super) const CASES: List =
    &[("hardware: ports, PCI registers and module parameters work", Start::Ready, all_work)];

const CONFIG: &str = "/sys/bus/pci/devices/0000:00:00.0/config";

/// Check that without a guard all of it works: what is denied later would have been done.
fn all_work(stage: &Stage) -> Result<()> {
    ensure!(pci(stage)?, "PCI configuration space");
    ensure!(port(stage)?, "a port");
    ensure!(stage.attack("ioperm", 0x80, &[])?.result == "ok", "ioperm");
    ensure!(parameters(stage)?, "a module's parameters");
    Ok(())
}

/// Whether a byte of PCI configuration space, the interrupt line of the host bridge, could be
/// written. It stays as it is.
pub(super) fn pci(stage: &Stage) -> Result<bool> {
    stage.shell(&format!("dd if={CONFIG} of=/run/byte bs=1 count=1 skip=60 status=none"))?;
    succeeds(
        stage,
        &format!("dd if=/run/byte of={CONFIG} bs=1 count=1 seek=60 conv=notrunc status=none"),
    )
}

/// Whether a port, the one that shows progress of the firmware, could be written.
pub(super) fn port(stage: &Stage) -> Result<bool> {
    succeeds(stage, "dd if=/dev/zero of=/dev/port bs=1 count=1 seek=128 conv=notrunc status=none")
}

/// Whether a module could be given a port as a parameter. What it needs stays loaded.
pub(super) fn parameters(stage: &Stage) -> Result<bool> {
    let modules = stage.kernel.modules(["parport_pc"])?;
    let (last, before) = modules.split_last().expect("parport_pc is a module");
    before.iter().try_for_each(|it| load(stage, &it.name, &it.read()?, ""))?;
    Ok(load(stage, &last.name, &last.read()?, "io=0x378 irq=none").is_ok())
}

fn succeeds(stage: &Stage, line: &str) -> Result<bool> {
    Ok(stage.machine().node0().shell(line)?.success())
}
