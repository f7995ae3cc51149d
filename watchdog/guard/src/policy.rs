//! The policy of a path, and the presets.

use std::fmt;

use serde::{Deserialize, Serialize};
use watchdog_common::action;

/// What the guard does about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The guard does nothing.
    Off,
    /// The guard reports the attempt.
    Observe,
    /// The attempt fails with EPERM, and the guard reports it.
    Deny,
    /// The guard kills the process and reports the attempt. On a path that can be denied, the
    /// attempt also fails.
    Kill,
}

impl Policy {
    /// The number that programs use for it.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Off => action::OFF,
            Self::Observe => action::OBSERVE,
            Self::Deny => action::DENY,
            Self::Kill => action::KILL,
        }
    }

    /// The policy with a number.
    pub(super) fn of_number(number: u32) -> Option<Self> {
        [Self::Off, Self::Observe, Self::Deny, Self::Kill]
            .into_iter()
            .find(|policy| u32::from(policy.number()) == number)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Deny => "deny",
            Self::Kill => "kill",
        })
    }
}

/// Policies for all paths at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Reports what `standard` would stop, and stops nothing: for the first days.
    Observe,
    /// Stops every attempt on protected memory. This node works as before.
    #[default]
    Standard,
    /// Also closes ways by which a process could reach protected memory: `/dev/mem` for writing,
    /// modules, kexec.
    Strict,
}
