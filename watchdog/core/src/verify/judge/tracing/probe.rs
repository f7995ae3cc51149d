//! The cause of a change by a probe.

use super::super::Mechanism;
use super::cause::Cause;
use super::kprobes::Probe;
use super::lists::named;
use super::registry::Tracing;

impl Tracing<'_> {
    /// The cause of a change by a probe: its handlers and its place.
    pub(in super::super) fn cause_of_probe(&self, probe: &Probe, at: u32) -> Cause {
        let mut names: Vec<_> =
            probe.handlers.iter().map(|handler| self.name_or_address(*handler)).collect();
        names.dedup();
        let name = format!("{} at {}", named(names), self.place(at));
        Cause::new(Mechanism::Kprobe, name)
    }
}
