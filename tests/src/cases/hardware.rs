//! Ways to reach hardware around the kernel that this machine has: PCI configuration space, I/O
//! ports, and module parameters that are addresses.

use anyhow::{Result, ensure};

use super::drivers::load;
use super::{List, Stage, Start};

pub(super) const CASES: List =
    &[("hardware: ports, PCI registers and module parameters work", Start::Ready, all_work)];

const CONFIG: &str = "/sys/bus/pci/devices/0000:00:00.0/config";

/// Check that all of it works without a guard, so that a later denial is the guard's work.
fn all_work(stage: &Stage) -> Result<()> {
    ensure!(pci(stage)?, "PCI configuration space");
    ensure!(port(stage)?, "a port");
    ensure!(stage.attack("ioperm", 0x80, &[])?.result == "ok", "ioperm");
    ensure!(parameters(stage)?, "a module's parameters");
    Ok(())
}

/// Whether a byte of PCI configuration space can be written: the interrupt line of the host bridge.
/// The byte keeps its value.
pub(super) fn pci(stage: &Stage) -> Result<bool> {
    stage.shell(&format!("dd if={CONFIG} of=/run/byte bs=1 count=1 skip=60 status=none"))?;
    succeeds(
        stage,
        &format!("dd if=/run/byte of={CONFIG} bs=1 count=1 seek=60 conv=notrunc status=none"),
    )
}

/// Whether an I/O port can be written: port 0x80, which shows the progress of the firmware.
pub(super) fn port(stage: &Stage) -> Result<bool> {
    succeeds(stage, "dd if=/dev/zero of=/dev/port bs=1 count=1 seek=128 conv=notrunc status=none")
}

/// Whether a module accepts an I/O port as a parameter. The modules that it needs stay loaded.
pub(super) fn parameters(stage: &Stage) -> Result<bool> {
    let modules = stage.kernel.modules(["parport_pc"])?;
    let (last, before) = modules.split_last().expect("parport_pc is a module");
    before.iter().try_for_each(|it| load(stage, &it.name, &it.read()?, ""))?;
    Ok(load(stage, &last.name, &last.read()?, "io=0x378 irq=none").is_ok())
}

fn succeeds(stage: &Stage, line: &str) -> Result<bool> {
    Ok(stage.machine().node0().shell(line)?.success())
}
