//! What the self-test lends to the test of a path.

use std::io;

use watchdog_common::DmaDevices;

use crate::canary::Canary;
use crate::foreign::Foreign;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::self_probes::SelfProbes;

/// What the test of one path has at hand. The self-test skips paths that are `off` and paths that
/// this kernel has no place for.
pub(crate) trait TestContext {
    /// Makes an attempt and judges it. The path's program must count it; where policy denies, the
    /// call must also fail with EPERM.
    fn attempt(&self, act: &dyn Fn() -> io::Result<()>) -> Outcome;

    /// The same for a call that must fail whatever the path's policy is.
    fn attempt_refused(&self, act: &dyn Fn() -> io::Result<()>) -> Outcome;

    /// An attempt on the canary page.
    fn attempt_on_canary(&self, act: fn(&Canary) -> io::Result<()>) -> Outcome;

    /// Whether the canary page is open, and only for reading.
    fn is_read_only(&self) -> bool;

    /// The path's policy.
    fn policy(&self) -> Policy;

    /// Whether policy denies every kexec, before its segments are judged.
    fn denies_every_kexec(&self) -> bool;

    /// What was found of access that predates the guard.
    fn stale_access(&self) -> Outcome;

    /// The devices of an IOMMU that the programs know, where this process knows them.
    fn dma_devices(&self) -> Option<&DmaDevices>;

    /// BPF programs that are not the guard's.
    fn foreign(&self) -> &Foreign;

    /// Attempts on what belongs to the guard.
    fn self_probes(&self) -> &SelfProbes;
}
