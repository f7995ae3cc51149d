//! The tools that the self-test gives to the test of a path.

use std::io;

use watchdog_common::DmaDevices;

use crate::canary::Canary;
use crate::foreign::Foreign;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::self_probes::SelfProbes;

/// The tools for the test of one path. The self-test skips paths that are `off`, and paths for
/// which this kernel has no hook.
pub(crate) trait TestContext {
    /// Makes an attempt and judges the result. The path's program must count the attempt. Where
    /// policy denies, the call must also fail with EPERM.
    fn attempt(&self, act: &dyn Fn() -> io::Result<()>) -> Outcome;

    /// The same for a call that must fail with any policy.
    fn attempt_refused(&self, act: &dyn Fn() -> io::Result<()>) -> Outcome;

    /// Makes an attempt on the canary page, and judges the result.
    fn attempt_on_canary(&self, act: fn(&Canary) -> io::Result<()>) -> Outcome;

    /// Whether the canary page is open only for reading.
    fn is_read_only(&self) -> bool;

    /// The path's policy.
    fn policy(&self) -> Policy;

    /// Whether policy denies every kexec, before a program judges its segments.
    fn denies_every_kexec(&self) -> bool;

    /// The result of the search for access that predates the guard.
    fn stale_access(&self) -> Outcome;

    /// Devices of an IOMMU that the programs know; `None` if this process does not know which these
    /// are.
    fn dma_devices(&self) -> Option<&DmaDevices>;

    /// BPF programs of others.
    fn foreign(&self) -> &Foreign;

    /// Attempts on the guard's own objects.
    fn self_probes(&self) -> &SelfProbes;
}
