//! One act of an attacker, as the cases try it and as the documentation lists it.

use anyhow::{Context, Result};

use super::Stage;
use super::disarming::{newest_pin, refused_as};
use super::guard::configured;
use super::stage::UNIT;

/// An act that must be refused and reported.
#[derive(Clone, Copy)]
pub(super) struct Act {
    /// What the attacker does, for people.
    pub(super) means: &'static str,
    /// The argument of `disarm --by` for it.
    pub(super) by: &'static str,
    file: File,
}

/// The file that an act uses.
#[derive(Clone, Copy)]
enum File {
    None,
    At(&'static str),
    /// A pin of the guard in force, by its name. An empty name is the folder of the pins.
    Pin(&'static str),
    /// A file of the watchdog's control group.
    Group(&'static str),
}

/// An act without a file.
pub(super) const fn act(means: &'static str, by: &'static str) -> Act {
    Act { means, by, file: File::None }
}

impl Act {
    /// The act on this file.
    pub(super) const fn at(self, path: &'static str) -> Self {
        Self { file: File::At(path), ..self }
    }

    /// The act on this pin.
    pub(super) const fn on_pin(self, name: &'static str) -> Self {
        Self { file: File::Pin(name), ..self }
    }

    /// The act on this file of the watchdog's control group.
    pub(super) const fn on_group(self, name: &'static str) -> Self {
        Self { file: File::Group(name), ..self }
    }

    /// Checks that the act is refused, and reported with this path.
    pub(super) fn is_refused(&self, stage: &Stage, path: &str) -> Result<()> {
        let file = match self.file {
            File::None => String::new(),
            File::At(path) => path.to_owned(),
            File::Pin(name) => newest_pin(stage, name)?,
            File::Group(name) => format!("/sys/fs/cgroup/system.slice/{UNIT}/{name}"),
        };
        refused_as(stage, path, self.by, &file)
            .with_context(|| format!("{} ({} {file})", self.means, self.by))
    }
}

/// Checks that each act is refused under `standard`, and reported with this path.
pub(super) fn all_refused(stage: &Stage, path: &str, acts: &[Act]) -> Result<()> {
    configured(stage, "", || acts.iter().try_for_each(|act| act.is_refused(stage, path)))
}
