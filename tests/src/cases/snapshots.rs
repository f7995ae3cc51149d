//! The machines that cases start from. Each is made once, when the first case wants it, and kept.

use anyhow::Result;

use super::{Stage, devices, guard, stage};
use crate::machine::{Snapshot, snapshot};

/// How a machine is when a case begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The watchdog is installed and has never run.
    Ready,
    /// It has run, knows both nodes by their baselines, and does not run now: its next start takes
    /// two thirds of the time.
    Learned,
    /// It watches both nodes under the preset `standard`.
    Standard,
    /// The same under the preset `strict`.
    Strict,
    /// As `Standard`, and by `strict` for what devices do.
    Devices,
    /// As `Standard`, but some of what that denies is only seen.
    Mixed,
}

/// What [`Start::Strict`] adds to the configuration.
pub(super) const STRICT: &str = "[guard]\npreset = \"strict\"";
/// What [`Start::Mixed`] adds to it.
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

    /// The configuration of the service that runs.
    pub(super) fn configuration(self) -> Option<String> {
        match self {
            Self::Ready | Self::Learned => None,
            Self::Standard => Some(guard::configuration("")),
            Self::Strict => Some(guard::configuration(STRICT)),
            Self::Devices => Some(guard::configuration(devices::POLICY)),
            Self::Mixed => Some(guard::configuration(MIXED)),
        }
    }

    /// What it is made from; nothing where a machine has to be booted.
    fn before(self) -> Option<Self> {
        match self {
            Self::Ready => None,
            Self::Standard => Some(Self::Ready),
            Self::Learned => Some(Self::Standard),
            Self::Strict | Self::Devices | Self::Mixed => Some(Self::Learned),
        }
    }
}

/// The machine with this kernel that is so; made where there is none.
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
