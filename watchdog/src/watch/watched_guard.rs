//! The guard in force, with the work that the watch repeats.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::leases::Leases;
use super::reporter::Reporter;
use super::self_test::{SelfTestWatch, holder_lost};
use watchdog_core::verify::BaselineStore;
use watchdog_guard::Guard;

/// The guard in force.
pub(super) struct WatchedGuard {
    pub(super) guard: Guard,
    pub(super) leases: Leases,
    self_tests: SelfTestWatch,
    baselines: BaselineWatch,
}

impl WatchedGuard {
    pub(super) fn new(
        guard: Guard,
        leases: Leases,
        self_tests: SelfTestWatch,
        baselines: BaselineWatch,
    ) -> Self {
        Self { guard, leases, self_tests, baselines }
    }

    /// Tests the guard, and reports changes since the last test. Also checks the lease, because its
    /// signal may have failed.
    pub(super) fn test(&mut self, reporter: &mut Reporter) {
        let change = self.self_tests.compare(&self.guard.self_test());
        change.into_iter().for_each(|it| reporter.report(it));
        self.guard.recursion_misses().into_iter().for_each(|it| reporter.guard_event(it));
        self.guard.lost_holders().iter().for_each(|it| reporter.report(holder_lost(it)));
        self.update_lease(reporter);
    }

    /// Grants the lease that was requested, or ends the one that is over.
    pub(super) fn update_lease(&mut self, reporter: &mut Reporter) {
        self.leases.update(&mut self.guard).report(reporter);
    }

    /// Enters the baselines into the guard's record, if a file changed.
    pub(super) fn update_baselines(&mut self) {
        if let Some(digests) = self.baselines.changed() {
            self.guard.set_baselines(digests);
        }
    }

    /// Does what policy says about new stale access, if a search for it is due.
    pub(super) fn end_new_stale_access(&mut self, reporter: &mut Reporter) {
        self.guard.end_new_stale_access().into_iter().for_each(|it| reporter.guard_event(it));
    }

    /// Ends the lease in force. The guard itself stays.
    pub(super) fn end_lease(&mut self, reporter: &mut Reporter) {
        self.leases.end(&mut self.guard).report(reporter);
    }
}

/// The files of the baselines, as they were at the last check.
pub(super) struct BaselineWatch {
    store: BaselineStore,
    /// When each file was written, and its size, by node; `None` before the first check.
    written: Option<BTreeMap<String, (Option<SystemTime>, u64)>>,
}

impl BaselineWatch {
    pub(super) fn new(store: BaselineStore) -> Self {
        Self { store, written: None }
    }

    /// The SHA-256 of each baseline by node, if a file changed since the last check. The first
    /// check counts as a change.
    pub(super) fn changed(&mut self) -> Option<BTreeMap<String, String>> {
        // This comes before the files are read: the next check finds a change after this.
        let now = Some(self.store.written());
        if now == self.written {
            return None;
        }
        self.written = now;
        Some(self.store.digests())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Check that digests are computed at the first check and after each change of a file, and not
    /// otherwise.
    #[test]
    fn changed_baselines() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = BaselineStore::in_state_dir(folder.path(), None);
        let mut baselines = BaselineWatch::new(store.clone());
        assert_eq!(baselines.changed(), Some(BTreeMap::new()));
        assert_eq!(baselines.changed(), None);
        fs::create_dir(store.directory()).expect("a folder");
        fs::write(store.path("web"), "x").expect("written");
        let first = baselines.changed().expect("a change");
        assert!(first.contains_key("web") && baselines.changed().is_none(), "{first:?}");
        fs::write(store.path("web"), "xy").expect("written");
        let second = baselines.changed().expect("a change");
        assert_ne!(first, second);
        fs::remove_file(store.path("web")).expect("removed");
        assert_eq!(baselines.changed(), Some(BTreeMap::new()));
    }
}
