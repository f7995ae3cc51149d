//! What the guard is told to protect, and how.

use std::path::PathBuf;

use super::policies::Policies;
use super::processors::Processors;
use super::release::Release;
use super::settings::Settings;
use watchdog_core::memory::RangeSet;

/// What the guard protects.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// The other nodes' physical memory.
    pub ranges: RangeSet,
    /// What else of physical memory may be written by `/dev/mem`.
    pub writable: RangeSet,
    /// Processors that may be started beside those that run.
    pub processors: Processors,
    /// What is done about each path.
    pub policies: Policies,
    /// Who may take it down.
    pub release: Release,
    /// Files and folders that only the watchdog may write from now on.
    pub protected_files: Vec<PathBuf>,
    /// The folder of baselines, one of them: it is made where it is not there.
    pub baselines: PathBuf,
    /// What the watch goes by.
    pub settings: Settings,
    /// Whether to go on where `bpf` is no active LSM, with what needs none.
    pub without_lsm: bool,
}
