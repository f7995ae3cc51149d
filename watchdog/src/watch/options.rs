//! Options of the watch, and the guard's configuration made from them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::node::Target;
use watchdog_core::memory::RangeSet;
use watchdog_core::verify::{BaselineKey, BaselineStore};
use watchdog_guard::{GuardConfig, Policies, Processors, Release, Settings};

/// Options of the watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// The time from the start of one sweep to the start of the next.
    pub period: Duration,
    /// Continue with an incomplete guard, or with none.
    pub degraded: bool,
    /// Continue if a node has no kernel yet.
    pub wait: bool,
    /// The folder below which baselines are stored.
    pub state_dir: PathBuf,
    /// The key of the signature that each baseline must carry.
    pub baseline_key: Option<BaselineKey>,
    /// How long a node may boot before it counts as lost.
    pub boot_limit: Duration,
    /// What the guard does about each path.
    pub policies: Policies,
    /// What disarming the guard requires.
    pub release: Release,
    /// Physical memory that may be written through `/dev/mem` although the guard covers it.
    pub writable: RangeSet,
    /// Processors that may be started.
    pub processors: Processors,
    /// The configuration file, which may be missing.
    pub config: PathBuf,
}

impl WatchOptions {
    /// The store of baselines.
    pub(super) fn store(&self) -> BaselineStore {
        let key = self.baseline_key.as_ref().map(|key| key.public().clone());
        BaselineStore::in_state_dir(&self.state_dir, key)
    }

    /// The configuration of a guard over `ranges`.
    pub(super) fn guard_config(&self, target: &Target, ranges: RangeSet) -> GuardConfig {
        GuardConfig {
            ranges,
            writable: self.writable.clone(),
            processors: self.processors.clone(),
            policies: self.policies.clone(),
            release: self.release.clone(),
            protected_files: protected_files(&self.config, &self.state_dir),
            baselines: BaselineStore::folder(&self.state_dir),
            settings: self.settings(target),
            without_lsm: self.degraded,
        }
    }

    /// The part of these options that the guard's record stores. The next watch is compared with
    /// it.
    fn settings(&self, target: &Target) -> Settings {
        Settings {
            period: self.period,
            booting: self.boot_limit,
            baseline_key: self.baseline_key.as_ref().map(|key| key.text().to_owned()),
            images: target.images.digests(),
            baselines: self.store().digests(),
        }
    }
}

/// The files that only the watchdog may change while the guard is in force: the configuration, the
/// state folder and the baselines. If the configuration is in a folder named `watchdog`, that
/// folder belongs to the watchdog, and all of it is protected. In any other folder, only the
/// configuration file is protected.
fn protected_files(config: &Path, state_dir: &Path) -> Vec<PathBuf> {
    let folder = config.parent().filter(|it| it.file_name() == Some("watchdog".as_ref()));
    let config = folder.unwrap_or(config).to_owned();
    vec![config, state_dir.to_owned(), BaselineStore::folder(state_dir)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the configuration's folder is protected only if it belongs to the watchdog: the
    /// guard must not deny writes to a home directory.
    #[test]
    fn protected_configuration() {
        let protected =
            |config: &str| protected_files(config.as_ref(), "/var/lib/watchdog".as_ref());
        let state = ["/var/lib/watchdog", "/var/lib/watchdog/baselines"];
        let own = protected("/etc/watchdog/watchdog.toml");
        assert_eq!(own, ["/etc/watchdog", state[0], state[1]].map(PathBuf::from));
        let other = protected("/root/watchdog.toml");
        assert_eq!(other, ["/root/watchdog.toml", state[0], state[1]].map(PathBuf::from));
    }
}
