//! One act of an attacker, as cases try it and as the documentation lists it.

use anyhow::{Context, Result};

use crate::cases::Stage;
use crate::cases::disarming::refused_as;
use crate::cases::guard::configured;

/// An act that must be refused and reported.
pub(super) struct Act {
    /// What the attacker does, for people.
    pub(super) means: &'static str,
    /// The word by which `disarm` does it.
    pub(super) by: &'static str,
    /// The file that it is about, if any.
    pub(super) file: &'static str,
}

pub(super) const fn act(means: &'static str, by: &'static str, file: &'static str) -> Act {
    Act { means, by, file }
}

/// Checks that under `standard` each act is refused and reported with this path.
pub(super) fn all_refused(stage: &Stage, path: &str, acts: &[Act]) -> Result<()> {
    configured(stage, "", || {
        acts.iter().try_for_each(|Act { means, by, file }| {
            refused_as(stage, path, by, file).with_context(|| format!("{means} ({by} {file})"))
        })
    })
}
