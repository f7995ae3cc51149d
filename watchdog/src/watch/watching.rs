//! A located kernel under watch: one sweep, and what is new about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::attribution::{Attribution, WriteLog, investigate};
use super::error::SweepError;
use super::life::{Life, News};
use super::messages;
use super::unsaved::Unsaved;
use crate::alert::Event;
use crate::node::{Images, NoBaseline, Node, baseline_for};
use watchdog_core::locate::{Kernel, Recheck, recheck};
use watchdog_core::memory::{Memory, PhysAddr};
use watchdog_core::text::chain;
use watchdog_core::verify::judge::Cause;
use watchdog_core::verify::{Baseline, BaselineStore, Difference, Sweep, Verdict, Verifier};

/// Differences, and findings about the mapping, of one sweep that are reported one by one; the rest
/// is reported as a number.
const REPORTED_EACH: usize = 16;
/// Causes of one sweep that are reported one by one: whoever traces may set up many probes.
const CAUSES_REPORTED_EACH: usize = 64;
/// Differences of one sweep that are looked at; what is beyond is reported as a number all the
/// same.
const MOST: usize = 10_000;

/// A kernel that is pinned: whatever memory says later, its place stays this until it is gone.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) kernel: Box<Kernel>,
    verifier: Verifier,
    /// Since when it is watched.
    pub(super) since: Instant,
    /// Differences already reported: where, and the bytes found there.
    reported: BTreeMap<PhysAddr, Vec<u8>>,
    /// When the last sweep began, if there was one: what is new was changed after that.
    swept: Option<Instant>,
    /// Causes already reported.
    reported_causes: BTreeSet<Cause>,
    /// Findings about the mapping already reported.
    reported_mapping: BTreeSet<String>,
    life: Life,
    /// What witnesses were last said to say otherwise.
    pub(super) doubt: Option<String>,
    /// Whether a kernel that boots beside it was reported.
    pub(super) reported_booting: bool,
    /// The baseline it is judged by, where that was learned and could not be stored.
    pub(super) unsaved: Option<Unsaved>,
}

/// What a sweep says of the kernel itself.
pub(super) enum Health {
    /// As it should be.
    Alive,
    /// Its clocks stand still: another kernel may run.
    Stalled,
    /// Its text cannot be reached any more: the reason.
    Gone(String),
}

impl Watching {
    /// Begins to watch a kernel: with the baseline of an image, or a stored one, else with one
    /// learned now. The reason is returned where there is a baseline and it is of another kernel.
    pub(super) fn begin(
        images: &Images,
        store: &BaselineStore,
        memory: &dyn Memory,
        node: &Node,
        kernel: Box<Kernel>,
        report: &mut dyn FnMut(Event),
    ) -> Result<Result<Self, String>, SweepError> {
        let mut unsaved = None;
        let baseline = match baseline_for(images, store, &node.name, &kernel) {
            Ok(Some(baseline)) => baseline,
            Err(NoBaseline::Store(error)) => return Err(error.into()),
            Err(error) => return Ok(Err(chain(&error))),
            Ok(None) => {
                let baseline = Baseline::learn(memory, &kernel)?;
                unsaved = Unsaved::unless_saved(store, node, &kernel, &baseline, report);
                baseline
            }
        };
        Ok(Ok(Self {
            since: Instant::now(),
            life: Life::begin(kernel.pulse.read_clocks(memory)),
            verifier: Verifier::new(baseline, &kernel),
            kernel,
            reported: BTreeMap::new(),
            swept: None,
            reported_causes: BTreeSet::new(),
            reported_mapping: BTreeSet::new(),
            doubt: None,
            reported_booting: false,
            unsaved,
        }))
    }

    /// Walks the translation again, compares the text, and reports what is new. Where memory is
    /// live, clocks that stand still for longer than `limit` are news.
    pub(super) fn sweep(
        &mut self,
        node: &Node,
        memory: &dyn Memory,
        write_log: &WriteLog,
        limit: Option<Duration>,
        report: &mut dyn FnMut(Event),
    ) -> Health {
        let begun = Instant::now();
        let advanced = self.life.record_beat(self.kernel.pulse.read_clocks(memory));
        match limit.and_then(|limit| self.life.news(limit)) {
            Some(News::Stopped(time)) => {
                report(messages::stands_still(&node.name, &self.kernel, time))
            }
            Some(News::GoesOn(time)) => report(messages::goes_on(&node.name, &self.kernel, time)),
            None => {}
        }
        let findings = match recheck(memory, &self.kernel) {
            Ok(Recheck::Same { findings }) => findings,
            // A kernel that lives on and is mapped elsewhere was not rebooted.
            Ok(Recheck::Gone { reason }) if advanced => {
                vec![format!("{reason}, but the kernel still runs")]
            }
            Ok(Recheck::Gone { reason }) => return Health::Gone(reason),
            Err(error) => return Health::Gone(chain(&error)),
        };
        self.report_mapping(node, findings, report);
        match self.verifier.sweep(memory, &self.kernel, MOST) {
            Ok(found) => {
                let is_new = found.unexplained.iter().any(|it| !self.is_reported(it));
                let attribution = is_new.then(|| investigate(write_log, &node.memory, self.swept));
                let attribution = attribution.flatten();
                self.report_text(node, &found, attribution.as_ref(), report);
            }
            Err(error) => return Health::Gone(chain(&error)),
        }
        self.swept = Some(begun);
        if self.is_alive() { Health::Alive } else { Health::Stalled }
    }

    /// Whether its clocks went on not long ago.
    pub(super) fn is_alive(&self) -> bool {
        !self.life.is_stalled()
    }

    /// Reports findings about the mapping, each once for as long as it stands.
    fn report_mapping(
        &mut self,
        node: &Node,
        findings: Vec<String>,
        report: &mut dyn FnMut(Event),
    ) {
        let (new, rest) = news(&findings, &self.reported_mapping, REPORTED_EACH);
        for finding in new {
            report(messages::mapping(&node.name, &self.kernel, finding));
        }
        if rest > 0 {
            report(messages::mapping_more(&node.name, &self.kernel, rest));
        }
        self.reported_mapping = findings.into_iter().collect();
    }

    /// Whether a difference was reported as it is.
    fn is_reported(&self, difference: &Difference) -> bool {
        self.reported.get(&difference.phys) == Some(&difference.found)
    }

    /// Reports differences that were not reported before, and when there are none any more.
    fn report_text(
        &mut self,
        node: &Node,
        found: &Sweep,
        attribution: Option<&Attribution>,
        report: &mut dyn FnMut(Event),
    ) {
        let new: Vec<_> = found.unexplained.iter().filter(|it| !self.is_reported(it)).collect();
        for difference in new.iter().take(REPORTED_EACH) {
            report(messages::tampered(&node.name, difference, attribution));
        }
        if let Some(rest) = new.len().checked_sub(REPORTED_EACH).filter(|rest| *rest > 0) {
            report(messages::tampered_more(&node.name, rest, found.pages_differing));
        }
        let causes: BTreeSet<Cause> = found.causes.iter().map(|(cause, _)| cause.clone()).collect();
        let is_new = |(cause, _): &&(Cause, u32)| !self.reported_causes.contains(cause);
        let mut new = found.causes.iter().filter(is_new);
        for (cause, count) in new.by_ref().take(CAUSES_REPORTED_EACH) {
            report(messages::instrumented(&node.name, &self.kernel, cause, *count));
        }
        let rest = new.count();
        if rest > 0 {
            report(messages::instrumented_more(&node.name, &self.kernel, rest));
        }
        let was_reported = !self.reported.is_empty() || !self.reported_causes.is_empty();
        if was_reported && matches!(found.verdict, Verdict::Clean | Verdict::Patched) {
            report(messages::clean(&node.name, &self.kernel, found.verdict));
        }
        self.reported_causes = causes;
        self.reported = found
            .unexplained
            .iter()
            .map(|difference| (difference.phys, difference.found.clone()))
            .collect();
    }
}

/// Which findings were not reported before, the first `most` of them, and how many more there are.
fn news<'a>(
    findings: &'a [String],
    reported: &BTreeSet<String>,
    most: usize,
) -> (Vec<&'a String>, usize) {
    let mut new = findings.iter().filter(|finding| !reported.contains(*finding));
    (new.by_ref().take(most).collect(), new.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that of many findings the first are reported and the rest is counted, in their order,
    /// and that none is reported twice.
    #[test]
    fn many_findings_are_few_events() {
        let findings: Vec<String> = (0..262_000).rev().map(|n| n.to_string()).collect();
        let (new, rest) = news(&findings, &BTreeSet::new(), REPORTED_EACH);
        assert_eq!((new.len(), rest), (REPORTED_EACH, findings.len() - REPORTED_EACH));
        assert_eq!(new.first().map(|first| first.as_str()), Some("261999"));
        let reported = findings.iter().skip(1).cloned().collect();
        assert_eq!(news(&findings, &reported, REPORTED_EACH), (vec![&findings[0]], 0));
    }
}
