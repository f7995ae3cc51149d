//! The machines that cases start from. Each is made once, when the first case wants it, and kept.

use anyhow::Result;

use super::{Stage, devices, guard, stage};
use crate::machine::{Snapshot, snapshot};

/// How a machine is when a case begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The watchdog is installed and does not run.
    Ready,
    /// It watches both nodes under the preset `standard`.
    Standard,
    /// The same, and by `strict` for what devices do.
    Devices,
    /// As `Standard`, but some of what that denies is only seen.
    Mixed,
}

/// What [`Start::Mixed`] adds to the preset.
pub(super) const MIXED: &str = "[guard.paths]\nkexec = \"observe\"\nftrace-enabled = \"observe\"";

impl Start {
    fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Standard => "standard",
            Self::Devices => "devices",
            Self::Mixed => "mixed",
        }
    }

    /// The configuration of the service that runs.
    pub(super) fn configuration(self) -> Option<String> {
        match self {
            Self::Ready => None,
            Self::Standard => Some(guard::configuration("")),
            Self::Devices => Some(guard::configuration(devices::POLICY)),
            Self::Mixed => Some(guard::configuration(MIXED)),
        }
    }
}

/// The machine with this kernel that is so; made where there is none.
pub(super) fn of(kernel: &str, start: Start, progress: &mut dyn FnMut(&str)) -> Result<Snapshot> {
    let name = format!("{}-{kernel}", start.name());
    let builder = Stage::builder(kernel);
    let Some(configuration) = start.configuration() else {
        return snapshot::kept(&name, &builder, stage::INSTALL, || {
            let stage = Stage::new(builder.clone().boot_with(None, progress)?, kernel)?;
            stage.install()?;
            Ok(stage.into_machine())
        });
    };
    let ready = of(kernel, Start::Ready, progress)?;
    let key = format!("{}\n{configuration}", ready.id());
    snapshot::kept(&name, &builder, &key, || {
        let stage = Stage::new(ready.restore(builder.clone())?, kernel)?;
        stage.configured(&configuration, || Ok(()))?;
        Ok(stage.into_machine())
    })
}
