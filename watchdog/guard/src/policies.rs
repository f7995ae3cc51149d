//! The policy of every path.

use watchdog_common::path;

use super::paths::WritePath;
use super::policy::{Policy, Preset};

/// The policy of every path, indexed by the path's number. A number without a path has `Off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies([Policy; path::COUNT as usize]);

impl Policies {
    /// The policies of a preset.
    #[must_use]
    pub fn of(preset: Preset) -> Self {
        let mut policies = Self([Policy::Off; path::COUNT as usize]);
        for path in WritePath::ALL {
            *policies.slot(path) = path.preset(preset);
        }
        policies
    }

    /// The policy of one path.
    #[must_use]
    pub fn get(&self, path: WritePath) -> Policy {
        self.0[path.number() as usize]
    }

    fn slot(&mut self, path: WritePath) -> &mut Policy {
        &mut self.0[path.number() as usize]
    }

    /// The same policies for a kernel where no program can judge a use of `/dev/mem`. Where a use
    /// would be denied by range, opening `/dev/mem` is denied.
    #[must_use]
    pub(super) fn deny_at_open(&self) -> Self {
        use WritePath::{Mmap, Mprotect, Open, RemapFilePages, Write};
        let uses = [Open, Write, Mmap, RemapFilePages, Mprotect].map(|path| self.get(path));
        let strictest = uses.into_iter().max().unwrap_or(Policy::Off);
        let mut policies = self.clone();
        // The device program cannot kill.
        *policies.slot(Open) = strictest.min(Policy::Deny);
        policies
    }

    /// Replaces the policy of one path.
    ///
    /// # Errors
    /// As [`WritePath::allows`].
    pub fn set(&mut self, path: WritePath, policy: Policy) -> Result<(), String> {
        path.allows(policy)?;
        *self.slot(path) = policy;
        Ok(())
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self::of(Preset::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that an impossible policy is refused, and that the error names the possible ones.
    #[test]
    fn means() {
        let mut policies = Policies::default();
        assert_eq!(policies.set(WritePath::Open, Policy::Kill), Ok(()));
        assert_eq!(policies.get(WritePath::Open), Policy::Kill);
        let refused = policies.set(WritePath::Ioremap, Policy::Deny).unwrap_err();
        assert!(refused.contains("write `off` or `observe`"), "{refused}");
        assert!(policies.set(WritePath::Frames, Policy::Deny).is_err());
    }

    /// Check that `open` gets the strictest policy of the uses of `/dev/mem`, at most `deny`, and
    /// that nothing else changes.
    #[test]
    fn denied_at_open() {
        for (preset, open) in [
            (Preset::Observe, Policy::Observe),
            (Preset::Standard, Policy::Deny),
            (Preset::Strict, Policy::Deny),
        ] {
            let mut policies = Policies::of(preset);
            assert_eq!(policies.deny_at_open().get(WritePath::Open), open, "{preset:?}");
            assert_eq!(policies.set(WritePath::Mmap, Policy::Kill), Ok(()));
            let at_open = policies.deny_at_open();
            assert_eq!(at_open.get(WritePath::Open), Policy::Deny, "{preset:?}");
            let others = WritePath::ALL.into_iter().filter(|path| *path != WritePath::Open);
            assert!(others.into_iter().all(|it| at_open.get(it) == policies.get(it)));
        }
    }
}
