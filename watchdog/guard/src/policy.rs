//! What can be done about a path, and the presets.

use std::fmt;

use serde::{Deserialize, Serialize};
use watchdog_common::action;

/// What is done about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nothing.
    Off,
    /// It is reported.
    Observe,
    /// It fails with EPERM, and is reported.
    Deny,
    /// The process is killed; where the path can be denied, that as well.
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

    /// The policy of a number.
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
    /// What `standard` would stop is reported, and nothing is stopped: for the first days.
    Observe,
    /// Whatever aims at protected memory is stopped; this node goes on as before.
    #[default]
    Standard,
    /// What could be aimed there is closed as well: `/dev/mem` for writing, modules, kexec.
    Strict,
}
