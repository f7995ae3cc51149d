//! The machines that cases start from. Each is made when the first case needs it, and kept.

use anyhow::Result;

use super::{Stage, devices, guard, stage};
use crate::machine::{Snapshot, snapshot};

/// The state of a machine when a case begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The watchdog is installed and has never run.
    Ready,
    /// The watchdog has a baseline of both nodes from an earlier run, and does not run now. Its
    /// next start takes two thirds of the time.
    Learned,
    /// The watchdog watches both nodes under the preset `standard`.
    Standard,
    /// The same under the preset `strict`.
    Strict,
    /// As `Standard`, with the policies of `strict` for `iommu` and `dma`.
    Devices,
    /// As `Standard`, but `kexec` and `ftrace-enabled` are observed.
    Mixed,
}

/// The lines that [`Start::Strict`] adds to the configuration.
pub(super) const STRICT: &str = "[guard]\npreset = \"strict\"";
/// The lines that [`Start::Mixed`] adds to it.
pub(super) const MIXED: &str = "[guard.paths]\nkexec = \"observe\"\nftrace-enabled = \"observe\"";

impl Start {
    fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Learned => "learned",
            Self::Standard => "standard",
            Self::Strict => "strict",
            Self::Devices => "devices",
            Self::Mixed => "mixed",
        }
    }

    /// The configuration of the running service, if it runs.
    pub(super) fn configuration(self) -> Option<String> {
        match self {
            Self::Ready | Self::Learned => None,
            Self::Standard => Some(guard::configuration("")),
            Self::Strict => Some(guard::configuration(STRICT)),
            Self::Devices => Some(guard::configuration(devices::POLICY)),
            Self::Mixed => Some(guard::configuration(MIXED)),
        }
    }

    /// The state that this one is made from, or none if a machine has to be booted.
    fn before(self) -> Option<Self> {
        match self {
            Self::Ready => None,
            Self::Standard => Some(Self::Ready),
            Self::Learned => Some(Self::Standard),
            Self::Strict | Self::Devices | Self::Mixed => Some(Self::Learned),
        }
    }
}

/// The machine with this kernel in this state. It is made if it does not exist.
pub(super) fn of(kernel: &str, start: Start, progress: &mut dyn FnMut(&str)) -> Result<Snapshot> {
    let name = format!("{}-{kernel}", start.name());
    let builder = Stage::builder(kernel);
    let Some(before) = start.before() else {
        return snapshot::kept(&name, &builder, stage::INSTALL, || {
            let stage = Stage::new(builder.clone().boot_with(None, progress)?, kernel)?;
            stage.install()?;
            Ok(stage.into_machine())
        });
    };
    let earlier = of(kernel, before, progress)?;
    let configuration = start.configuration();
    let key = format!("{}\n{configuration:?}", earlier.id());
    snapshot::kept(&name, &builder, &key, || {
        let stage = Stage::restored(&earlier, kernel, before)?;
        match configuration {
            Some(configuration) => stage.configured(&configuration, || Ok(()))?,
            None => stage.idle()?,
        }
        Ok(stage.into_machine())
    })
}
