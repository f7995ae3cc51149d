//! The write paths by name, and what the guard can do about each.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use watchdog_common::path;

use super::attempt_detail::AttemptDetail;
use super::guard_path::{GuardPath, Leaves, Means, Target, WithoutLsm};
use super::test_context::TestContext;
use crate::outcome::Outcome;
use crate::policy::{Policy, Preset};
use crate::program::Program;

macro_rules! write_paths {
    ($($(#[$doc:meta])* $module:ident $number:ident $variant:ident = $value:literal,)+) => {
        /// A way in which node 0 could write to another node's memory, by the name that
        /// configuration and events use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        #[repr(u32)]
        pub enum WritePath {
            $($(#[$doc])* $variant = path::$number,)+
        }

        impl WritePath {
            /// Every path, in the order of their numbers.
            pub const ALL: [Self; [$($value),+].len()] = [$(Self::$variant),+];

            /// The facts about the path.
            pub(super) const fn facts(self) -> &'static GuardPath {
                match self {
                    $(Self::$variant => &super::$module::PATH,)+
                }
            }
        }
    };
}
watchdog_common::paths!(write_paths);

impl WritePath {
    /// The path's number in programs, and its row in reports.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The path's name in configuration and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What a process on this path did, for a sentence; `None` for a write to a range.
    #[must_use]
    pub const fn deed(self) -> Option<&'static str> {
        self.facts().deed
    }

    /// A short description.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        self.facts().summary
    }

    /// Whether the path leads to the guard, its watchdog or another node's processor, not to
    /// memory.
    #[must_use]
    pub const fn is_about_the_guard(self) -> bool {
        matches!(self.facts().target, Target::Guard)
    }

    /// Whether a process with an allowed call may write later, when no hook runs.
    #[must_use]
    pub const fn leaves_access(self) -> bool {
        matches!(self.facts().leaves, Leaves::Access | Leaves::Mappings)
    }

    /// Whether other processes may keep a driver's mapping when its process was killed.
    pub(crate) const fn leaves_mappings(self) -> bool {
        matches!(self.facts().leaves, Leaves::Mappings)
    }

    /// What is left of the path if LSM programs never fire.
    pub(crate) const fn without_lsm(self) -> WithoutLsm {
        self.facts().without_lsm
    }

    /// The programs that are needed to judge the path.
    pub(crate) const fn programs(self) -> &'static [&'static Program] {
        self.facts().programs
    }

    /// Explains the number that a program reported with an attempt.
    pub(crate) fn detail(self, detail: &AttemptDetail<'_>) -> Option<String> {
        (self.facts().detail)(detail)
    }

    /// Tests the path.
    pub(crate) fn test(self, context: &dyn TestContext) -> Outcome {
        (self.facts().test)(context)
    }

    /// The path with a number.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.number() == number)
    }

    /// The policy of a preset for the path.
    #[must_use]
    pub fn preset(self, preset: Preset) -> Policy {
        let facts = self.facts();
        match preset {
            Preset::Observe => facts.standard.min(Policy::Observe),
            Preset::Standard => facts.standard,
            Preset::Strict => facts.strict,
        }
    }

    /// Checks that the guard can carry out a policy on the path.
    ///
    /// # Errors
    /// A sentence, if the kernel offers no means for the policy.
    pub fn allows(self, policy: Policy) -> Result<(), String> {
        let can: &[Policy] = match self.facts().means {
            Means::Refuse => return Ok(()),
            Means::Kill => &[Policy::Off, Policy::Observe, Policy::Kill],
            Means::See => &[Policy::Off, Policy::Observe],
        };
        if can.contains(&policy) {
            return Ok(());
        }
        let can: Vec<_> = can.iter().map(|policy| format!("`{policy}`")).collect();
        Err(format!(
            "the kernel offers no way to {policy} path `{self}`: write {}",
            can.join(" or ")
        ))
    }
}

impl fmt::Display for WritePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl TryFrom<String> for WritePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for WritePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|path| path.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|path| path.name()).collect();
            format!("unknown path `{text}`; expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the kernel offers the means for every preset, and that a stricter preset never
    /// does less.
    #[test]
    fn presets() {
        for path in WritePath::ALL {
            let [observe, standard, strict] =
                [Preset::Observe, Preset::Standard, Preset::Strict].map(|it| path.preset(it));
            for policy in [observe, standard, strict] {
                assert_eq!(path.allows(policy), Ok(()), "{path}");
            }
            assert!(observe <= standard && standard <= strict, "{path}");
            assert!(observe <= Policy::Observe, "{path}");
        }
    }

    /// Check that numbers and names lead back to their path. Check that the error for a wrong name
    /// lists the right ones.
    #[test]
    fn names() {
        for path in WritePath::ALL {
            assert_eq!(WritePath::of_number(path.number()), Some(path));
            assert_eq!(path.name().parse(), Ok(path));
        }
        assert!("mmpa".parse::<WritePath>().unwrap_err().contains("mmap, remap-file-pages"));
    }
}
