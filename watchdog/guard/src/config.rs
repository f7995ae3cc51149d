//! The configuration of the guard.

use std::path::PathBuf;

use super::policies::Policies;
use super::processors::Processors;
use super::release::Release;
use super::settings::Settings;
use watchdog_core::memory::RangeSet;

/// The configuration of the guard.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// The other nodes' physical memory.
    pub ranges: RangeSet,
    /// Other physical memory that processes may write by `/dev/mem`.
    pub writable: RangeSet,
    /// Processors that may be started, beside those that run.
    pub processors: Processors,
    /// The policy of each path.
    pub policies: Policies,
    /// The rule for taking the guard down.
    pub release: Release,
    /// Files and folders that only the watchdog may write from now on.
    pub protected_files: Vec<PathBuf>,
    /// The folder of baselines, which is one of `protected_files`. The guard makes it if it is
    /// missing and no earlier guard is in force.
    pub baselines: PathBuf,
    /// The settings of the watch.
    pub settings: Settings,
    /// Whether to continue if `bpf` is not an active LSM, with the paths that do not need it.
    pub without_lsm: bool,
}
