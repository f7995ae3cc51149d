//! A located kernel under watch: one sweep, and what is new about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::error::SweepError;
use super::life::{Life, News};
use super::origin::Doings;
use super::tell;
use super::unsaved::Unsaved;
use crate::alert::Event;
use crate::node::{Images, NoBaseline, Node, baseline_for};
use watchdog_core::locate::{Kernel, Recheck, recheck};
use watchdog_core::memory::{Memory, PhysAddr};
use watchdog_core::text::chain;
use watchdog_core::verify::judge::Cause;
use watchdog_core::verify::{Baseline, BaselineStore, Difference, Sweep, Verdict, Verifier};

/// Differences, and findings about the mapping, of one sweep that are told one by one; the rest is
/// told as a number.
const TOLD_EACH: usize = 16;
/// Causes of one sweep that are told one by one: whoever traces may set up many probes.
const CAUSES_TOLD_EACH: usize = 64;
/// Differences of one sweep that are looked at; what is beyond is told as a number all the same.
const MOST: usize = 10_000;

/// A kernel that is pinned: whatever memory says later, its place stays this until it is gone.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) kernel: Box<Kernel>,
    verifier: Verifier,
    /// Since when it is watched.
    pub(super) since: Instant,
    /// Differences already told: where, and the bytes found there.
    told: BTreeMap<PhysAddr, Vec<u8>>,
    /// When the last sweep began, if there was one: what is new was changed after that.
    swept: Option<Instant>,
    /// Causes already told.
    told_causes: BTreeSet<Cause>,
    /// Findings about the mapping already told.
    told_mapping: BTreeSet<String>,
    life: Life,
    /// What witnesses were last said to say otherwise.
    pub(super) doubt: Option<String>,
    /// Whether a kernel that boots beside it was told.
    pub(super) told_booting: bool,
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
        tell: &mut dyn FnMut(Event),
    ) -> Result<Result<Self, String>, SweepError> {
        let mut unsaved = None;
        let baseline = match baseline_for(images, store, &node.name, &kernel) {
            Ok(Some(baseline)) => baseline,
            Err(NoBaseline::Store(error)) => return Err(error.into()),
            Err(error) => return Ok(Err(chain(&error))),
            Ok(None) => {
                let baseline = Baseline::learn(memory, &kernel)?;
                unsaved = Unsaved::unless_saved(store, node, &kernel, &baseline, tell);
                baseline
            }
        };
        Ok(Ok(Self {
            since: Instant::now(),
            life: Life::begin(kernel.pulse.look(memory)),
            verifier: Verifier::new(baseline, &kernel),
            kernel,
            told: BTreeMap::new(),
            swept: None,
            told_causes: BTreeSet::new(),
            told_mapping: BTreeSet::new(),
            doubt: None,
            told_booting: false,
            unsaved,
        }))
    }

    /// Walks the translation again, compares the text, and tells what is new. Where memory is
    /// live, clocks that stand still for longer than `limit` are news.
    pub(super) fn sweep(
        &mut self,
        node: &Node,
        memory: &dyn Memory,
        doings: &Doings,
        limit: Option<Duration>,
        tell: &mut dyn FnMut(Event),
    ) -> Health {
        let begun = Instant::now();
        let advanced = self.life.look(self.kernel.pulse.look(memory));
        match limit.and_then(|limit| self.life.news(limit)) {
            Some(News::Stopped(time)) => tell(tell::stands_still(&node.name, &self.kernel, time)),
            Some(News::GoesOn(time)) => tell(tell::goes_on(&node.name, &self.kernel, time)),
            None => {}
        }
        let findings = match recheck(memory, &self.kernel) {
            Ok(Recheck::Same { findings }) => findings,
            // A kernel that lives on and is mapped elsewhere was not rebooted.
            Ok(Recheck::Gone { reason }) if advanced => {
                vec![format!("{reason}, and the kernel lives on")]
            }
            Ok(Recheck::Gone { reason }) => return Health::Gone(reason),
            Err(error) => return Health::Gone(chain(&error)),
        };
        self.tell_mapping(node, findings, tell);
        match self.verifier.sweep(memory, &self.kernel, MOST) {
            Ok(found) => {
                let is_new = found.unexplained.iter().any(|it| !self.is_told(it));
                let origin = is_new.then(|| doings.origin(&node.name, &node.memory, self.swept));
                let origin = origin.flatten();
                self.tell_text(node, &found, origin.as_deref(), tell);
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

    /// Tells findings about the mapping, each once for as long as it stands.
    fn tell_mapping(&mut self, node: &Node, findings: Vec<String>, tell: &mut dyn FnMut(Event)) {
        let (new, rest) = news(&findings, &self.told_mapping, TOLD_EACH);
        for finding in new {
            tell(tell::mapping(&node.name, &self.kernel, finding));
        }
        if rest > 0 {
            tell(tell::mapping_more(&node.name, &self.kernel, rest));
        }
        self.told_mapping = findings.into_iter().collect();
    }

    /// Whether a difference was told as it is.
    fn is_told(&self, difference: &Difference) -> bool {
        self.told.get(&difference.phys) == Some(&difference.found)
    }

    /// Tells differences that were not told before, and when there are none any more.
    fn tell_text(
        &mut self,
        node: &Node,
        found: &Sweep,
        origin: Option<&str>,
        tell: &mut dyn FnMut(Event),
    ) {
        let new: Vec<_> = found.unexplained.iter().filter(|it| !self.is_told(it)).collect();
        for difference in new.iter().take(TOLD_EACH) {
            tell(tell::tampered(&node.name, difference, origin));
        }
        if let Some(rest) = new.len().checked_sub(TOLD_EACH).filter(|rest| *rest > 0) {
            tell(tell::tampered_more(&node.name, rest, found.pages_differing));
        }
        let causes: BTreeSet<Cause> = found.causes.iter().map(|(cause, _)| cause.clone()).collect();
        let is_new = |(cause, _): &&(Cause, u32)| !self.told_causes.contains(cause);
        let mut new = found.causes.iter().filter(is_new);
        for (cause, count) in new.by_ref().take(CAUSES_TOLD_EACH) {
            tell(tell::instrumented(&node.name, &self.kernel, cause, *count));
        }
        let rest = new.count();
        if rest > 0 {
            tell(tell::instrumented_more(&node.name, &self.kernel, rest));
        }
        let was_told = !self.told.is_empty() || !self.told_causes.is_empty();
        if was_told && matches!(found.verdict, Verdict::Clean | Verdict::Patched) {
            tell(tell::clean(&node.name, &self.kernel, found.verdict));
        }
        self.told_causes = causes;
        self.told = found
            .unexplained
            .iter()
            .map(|difference| (difference.phys, difference.found.clone()))
            .collect();
    }
}

/// Which findings were not told before, the first `most` of them, and how many more there are.
fn news<'a>(
    findings: &'a [String],
    told: &BTreeSet<String>,
    most: usize,
) -> (Vec<&'a String>, usize) {
    let mut new = findings.iter().filter(|finding| !told.contains(*finding));
    (new.by_ref().take(most).collect(), new.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that of many findings the first are told and the rest is counted, in their order, and
    /// that none is told twice.
    #[test]
    fn many_findings_are_few_events() {
        let findings: Vec<String> = (0..262_000).rev().map(|n| n.to_string()).collect();
        let (new, rest) = news(&findings, &BTreeSet::new(), TOLD_EACH);
        assert_eq!((new.len(), rest), (TOLD_EACH, findings.len() - TOLD_EACH));
        assert_eq!(new.first().map(|first| first.as_str()), Some("261999"));
        let told = findings.iter().skip(1).cloned().collect();
        assert_eq!(news(&findings, &told, TOLD_EACH), (vec![&findings[0]], 0));
    }
}
