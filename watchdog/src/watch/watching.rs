//! A located kernel that is watched: its sweep, and the events from it.

use std::time::Instant;

use super::attribution::{Attribution, investigate};
use super::context::Context;
use super::life::{Life, News};
use super::messages;
use super::reported::Reported;
use super::unsaved::Unsaved;
use crate::alert::Event;
use crate::node::{Images, NoBaseline, Node, baseline_for};
use watchdog_core::locate::{Kernel, Recheck, recheck};
use watchdog_core::memory::{Memory, PhysAddr};
use watchdog_core::text::chain;
use watchdog_core::verify::judge::Cause;
use watchdog_core::verify::{
    Baseline, BaselineError, BaselineStore, Difference, Sweep, Verdict, Verifier,
};

/// The number of differences, and of findings about the mapping, that one sweep reports one by one.
/// The rest is reported as a count.
const REPORTED_EACH: usize = 16;
/// The number of causes that one sweep reports one by one. A tracer may set up many probes.
const CAUSES_REPORTED_EACH: usize = 64;
/// The number of differences that one sweep examines. Further ones are only counted.
const MOST: usize = 10_000;

/// A pinned kernel. Its place stays the same until the kernel is gone, whatever a later search of
/// memory finds.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) kernel: Box<Kernel>,
    verifier: Verifier,
    /// Since when it is watched.
    pub(super) since: Instant,
    /// When the last sweep began, if there was one. A new difference arose after that.
    swept: Option<Instant>,
    life: Life,
    /// Its baseline, if that was learned and could not be stored.
    pub(super) unsaved: Option<Unsaved>,
}

/// The state of the kernel after a sweep.
pub(super) enum Health {
    /// It runs.
    Alive,
    /// Its clocks stand still. Another kernel may run.
    Stalled,
    /// Its text can no longer be reached, for this reason.
    Gone(String),
}

/// Why a kernel is not watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBegun {
    /// The node has baselines, and none fits this kernel.
    #[error(transparent)]
    NoBaseline(#[from] NoBaseline),
    /// There is no baseline, and learning one failed.
    #[error(transparent)]
    Learn(#[from] BaselineError),
}

impl Watching {
    /// Begins to watch a kernel with the baseline of an image, else a stored one, else one learned
    /// now.
    pub(super) fn begin(
        images: &Images,
        store: &BaselineStore,
        memory: &dyn Memory,
        node: &Node,
        kernel: Box<Kernel>,
        clock: &dyn Fn() -> Instant,
        report: &mut dyn FnMut(Event),
    ) -> Result<Self, NotBegun> {
        let mut unsaved = None;
        let baseline = match baseline_for(images, store, &node.name, &kernel)? {
            Some(baseline) => baseline,
            None => {
                let baseline = Baseline::learn(memory, &kernel)?;
                unsaved = Unsaved::unless_saved(store, node, &kernel, &baseline, report);
                baseline
            }
        };
        let since = clock();
        Ok(Self {
            since,
            life: Life::begin(kernel.pulse.read_clocks(memory), since),
            verifier: Verifier::new(baseline, &kernel),
            kernel,
            swept: None,
            unsaved,
        })
    }

    /// Walks the translation again, compares the text, and reports changes.
    pub(super) fn sweep(
        &mut self,
        node: &Node,
        context: &Context<'_>,
        reported: &mut Reported,
        report: &mut dyn FnMut(Event),
    ) -> Health {
        let (memory, write_log, begun) = (context.memory, context.write_log, (context.now)());
        let beat = self.kernel.pulse.read_clocks(memory);
        let look = self.life.record_beat(beat, begun, context.still, &mut reported.stopped);
        match look.news {
            Some(News::Stopped(time)) => {
                report(messages::stands_still(&node.name, &self.kernel, time))
            }
            Some(News::GoesOn(time)) => report(messages::goes_on(&node.name, &self.kernel, time)),
            None => {}
        }
        let findings = match recheck(memory, &self.kernel) {
            Ok(Recheck::Same { findings }) => findings,
            // A kernel that is mapped elsewhere but still runs was not rebooted.
            Ok(Recheck::Gone { reason }) if look.advanced => {
                vec![format!("{reason}, but the kernel still runs")]
            }
            Ok(Recheck::Gone { reason }) => return Health::Gone(reason),
            Err(error) => return Health::Gone(chain(&error)),
        };
        self.report_mapping(node, findings, reported, report);
        match self.verifier.sweep(memory, &self.kernel, MOST) {
            Ok(found) => {
                let is_new = !reported.differences.contains_all(&found.unexplained, difference);
                let attribution =
                    is_new.then(|| investigate(write_log, &node.memory, self.swept)).flatten();
                self.report_text(node, &found, attribution.as_ref(), reported, report);
            }
            Err(error) => return Health::Gone(chain(&error)),
        }
        self.swept = Some(begun);
        if self.is_alive((context.now)()) { Health::Alive } else { Health::Stalled }
    }

    /// Whether its clocks advanced a short time ago.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        !self.life.is_stalled(now)
    }

    /// Reports findings about the mapping, each once while it stands.
    fn report_mapping(
        &self,
        node: &Node,
        findings: Vec<String>,
        reported: &mut Reported,
        report: &mut dyn FnMut(Event),
    ) {
        let (new, rest) = reported.mapping.news(&findings, String::clone, REPORTED_EACH);
        for finding in new {
            report(messages::mapping(&node.name, &self.kernel, finding));
        }
        if rest > 0 {
            report(messages::mapping_more(&node.name, &self.kernel, rest));
        }
        reported.mapping.replace(findings);
    }

    /// Reports differences and causes, each once while it stands. Also reports what is not judged,
    /// and when the text is clean again.
    fn report_text(
        &self,
        node: &Node,
        found: &Sweep,
        attribution: Option<&Attribution>,
        reported: &mut Reported,
        report: &mut dyn FnMut(Event),
    ) {
        let differences = &found.unexplained;
        let (new, rest) = reported.differences.news(differences, difference, REPORTED_EACH);
        for it in new {
            report(messages::tampered(&node.name, it, attribution));
        }
        if rest > 0 {
            report(messages::tampered_more(&node.name, rest, found.pages_differing));
        }
        let (new, rest) = reported.causes.news(&found.causes, cause, CAUSES_REPORTED_EACH);
        for (it, count) in new {
            report(messages::instrumented(&node.name, &self.kernel, it, *count));
        }
        if rest > 0 {
            report(messages::instrumented_more(&node.name, &self.kernel, rest));
        }
        let new: Vec<_> = found
            .not_judged
            .iter()
            .filter(|it| reported.not_judged.add((it.mechanism.clone(), it.why.clone())))
            .collect();
        if !new.is_empty() {
            report(messages::not_judged(&node.name, &self.kernel, &new));
        }
        let was_reported = !reported.differences.is_empty() || !reported.causes.is_empty();
        if was_reported && matches!(found.verdict, Verdict::Clean | Verdict::Patched) {
            report(messages::clean(&node.name, &self.kernel, found.verdict));
        }
        reported.causes.replace(found.causes.iter().map(cause));
        reported.differences.replace(differences.iter().map(difference));
    }
}

/// The stored fact about a difference: the address, and the bytes found there.
fn difference(difference: &Difference) -> (PhysAddr, Vec<u8>) {
    (difference.phys, difference.found.clone())
}

/// The stored fact about a cause, without the number of its places.
fn cause((cause, _): &(Cause, u32)) -> Cause {
    cause.clone()
}
