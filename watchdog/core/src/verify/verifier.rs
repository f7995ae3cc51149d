//! Repeated sweeps over a node's kernel text.

mod describe;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::difference::Judgement;
use super::explain::Outcome;
use super::judge::{Expected, Mechanism, Opinion, State, TextJudge, Wrong};
use super::measure::{page_count, page_extent, unpredictable_order};
use super::not_judged;
use super::patching::Patching;
use super::rodata::RodataWatch;
use super::round::Round;
use super::suspects::Suspects;
use super::sweep::Sweep;
use super::{Baseline, BaselineKind, Difference, MeasureError, Verdict, explain};
use crate::locate::{Beat, Kernel};
use crate::memory::{Memory, PAGE_SIZE};

/// How long unexplained places are read again before they are reported. The kernel patches itself
/// in steps (`text_poke_bp()`, arch/x86/kernel/alternative.c). For an instant, a site holds a
/// breakpoint or contradicts the key that it will follow.
const DWELL: Duration = Duration::from_millis(500);
/// How long sites that contradict their tables are left open while the kernel holds a mutex for
/// patching. A slow machine that switches ten thousand sites needs this time. An attacker that
/// holds a mutex forever gains only this delay, and only at places that the tables list.
const PATCHING_TIMEOUT: Duration = Duration::from_secs(30);
/// Reported for places that are undecided.
const WAS_PATCHING: &str = "the kernel was patching itself when its memory was copied or stopped";
/// Wait between the first two checks. It doubles each time, up to the longest wait.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Every sweep judges one page in this many again.
const SHARE: usize = 32;
const PAGE: usize = PAGE_SIZE as usize;

/// A text under watch: its baseline, and the results of the last sweep.
#[derive(Clone, Debug)]
pub struct Verifier {
    kind: BaselineKind,
    judge: TextJudge,
    patching: Patching,
    suspects: Suspects,
    /// Places that are left open: not judged yet.
    pending: Vec<Wrong>,
    /// Since when sites have been left open while the kernel is patching itself, and its clocks at
    /// that time.
    pending_since: Option<(Instant, Beat)>,
    /// Number of sites that were being patched when the memory came to rest.
    undecided: usize,
    opinion: Opinion,
    /// Pages that were read but not judged yet. A sweep that fails leaves some.
    unjudged: BTreeSet<usize>,
    /// Pages that are judged again although they did not change.
    round: Round,
    rodata: RodataWatch,
}

impl Verifier {
    /// Prepares to judge a kernel by a baseline that fits it ([`Baseline::fits`]).
    #[must_use]
    pub fn new(baseline: Baseline, kernel: &Kernel) -> Self {
        let distance = kernel.text.virt.0.wrapping_sub(baseline.reference.link_address);
        let reference = Arc::unwrap_or_clone(baseline.reference);
        let mut expected = Expected::of(reference, distance);
        let rodata = expected.take_rodata();
        let rodata = RodataWatch::new(expected.reference.clone(), rodata, distance);
        Self {
            patching: Patching::of(&expected.reference),
            suspects: Suspects::default(),
            pending: Vec::new(),
            pending_since: None,
            undecided: 0,
            kind: baseline.kind,
            judge: TextJudge::new(expected),
            opinion: Opinion::default(),
            unjudged: BTreeSet::new(),
            round: Round::default(),
            rodata,
        }
    }

    /// Reads the whole text page by page in an unpredictable order, and judges the pages that
    /// changed.
    ///
    /// At most `most` unexplained places are described.
    ///
    /// # Errors
    /// [`MeasureError`] when the text differs in size from the baseline, or memory cannot be read.
    pub fn sweep(
        &mut self,
        memory: &dyn Memory,
        kernel: &Kernel,
        most: usize,
    ) -> Result<Sweep, MeasureError> {
        let begun = Instant::now();
        let pages = page_count(kernel.text.size)?;
        if kernel.text.size != self.judge.expected().text().len() as u64 {
            return Err(MeasureError::Size(kernel.text.size));
        }
        self.read(memory, kernel, unpredictable_order(pages))?;
        let changed = std::mem::take(&mut self.unjudged);
        let before = (changed.len() < pages).then(|| self.outcome());
        // A key or a variable can change while the text does not. Every page is therefore judged
        // again by the kernel's current state within a round. Pages with unexplained places are
        // judged again in every sweep.
        let again = self.round.next(pages, SHARE);
        self.settle(memory, kernel, &changed, again);
        self.rodata.sweep(memory, kernel);
        if before.as_ref() != Some(&self.outcome()) {
            let symbols = &self.judge.expected().reference.symbols;
            self.outcome().log(kernel, &self.opinion, symbols);
            explain::log_differences(self.rodata.differences(kernel));
        }
        let total = self.opinion.wrong.len().saturating_add(self.rodata.wrong());
        let unexplained = self.opinion.wrong.iter().take(most);
        let mut names = self.disassembler(kernel);
        Ok(Sweep {
            verdict: self.verdict(),
            baseline: self.kind,
            sha256: self.judge.sha256(),
            pages,
            pages_differing: self.opinion.pages_differing,
            sites: self.opinion.patched.clone(),
            not_judged: not_judged::list(
                &self.judge.expected().reference.not_judged,
                &self.opinion.not_judged,
            ),
            undescribed: self.judge.expected().reference.undescribed(),
            causes: self.opinion.causes.clone(),
            unexplained: unexplained
                .filter_map(|wrong| {
                    self.difference(&mut names, kernel, wrong.at, wrong.length).map(|difference| {
                        Difference {
                            judgement: Judgement::Unexplained,
                            mechanism: wrong.mechanism,
                            note: wrong.why.to_owned(),
                            ..difference
                        }
                    })
                })
                .chain(self.rodata.differences(kernel))
                .take(most)
                .collect(),
            unexplained_total: total,
            rodata: self.rodata.opinion().clone(),
            pending: self.pending.len(),
            undecided: self.undecided,
            elapsed: begun.elapsed(),
        })
    }

    fn verdict(&self) -> Verdict {
        if !self.opinion.wrong.is_empty() || self.rodata.wrong() > 0 {
            Verdict::Tampered
        } else if self.undecided > 0 {
            Verdict::Unverified
        } else if !self.opinion.causes.is_empty() {
            Verdict::Instrumented
        } else if self.opinion.pages_differing > 0 {
            Verdict::Patched
        } else {
            Verdict::Clean
        }
    }

    /// The outcome of the sweep, in numbers.
    fn outcome(&self) -> Outcome {
        Outcome {
            verdict: self.verdict(),
            pages_differing: self.opinion.pages_differing,
            causes: self.opinion.causes.len(),
            wrong: self.opinion.wrong.len(),
            wrong_rodata: self.rodata.wrong(),
            pending: self.pending.len(),
            not_judged: self.opinion.not_judged_places.len(),
        }
    }

    /// Judges the pages. Checks unexplained places again until they are explained or known to stay.
    fn settle(
        &mut self,
        memory: &dyn Memory,
        kernel: &Kernel,
        changed: &BTreeSet<usize>,
        again: Vec<usize>,
    ) {
        let state = State::of(memory, kernel);
        let others = again.into_iter().chain(self.judge.unsettled()).collect();
        self.opinion = self.judge.judge(changed, &others, &state, &mut |_| None);
        let begun = Instant::now();
        let mut wait = FIRST_WAIT;
        let mut patching = self.patching.is_on(&state);
        let (suspects, mut looks) = (self.opinion.wrong.len(), 1_u32);
        self.suspects.see(&self.opinion.wrong);
        while !memory.is_at_rest()
            && begun.elapsed() < DWELL
            && self.opinion.wrong.iter().any(|wrong| !self.suspects.stand(wrong))
        {
            thread::sleep(wait);
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
            let places = self.opinion.wrong.iter();
            let pages: BTreeSet<usize> = places
                .flat_map(|wrong| [wrong.at, wrong.at.saturating_add(wrong.length)])
                .map(|at| at as usize / PAGE)
                .collect();
            let state = State::of(memory, kernel);
            self.opinion = self.judge.judge(&pages, &BTreeSet::new(), &state, &mut |page| {
                let mut buffer = [0; PAGE];
                read_page(memory, kernel, page, &mut buffer).ok().map(<[u8]>::to_vec)
            });
            self.suspects.see(&self.opinion.wrong);
            patching |= self.patching.is_on(&state);
            looks = looks.saturating_add(1);
        }
        self.leave_open(memory, kernel, patching);
        if looks > 1 {
            let left = [suspects, self.opinion.wrong.len(), self.pending.len()];
            explain::log_suspects(left, looks, begun, patching);
        }
    }

    /// Moves places that may still change to `pending`. Any place may change for a moment. While
    /// the kernel is patching, sites that contradict their tables may change for longer
    /// ([`PATCHING_TIMEOUT`]). In memory that stands still they never change: see
    /// [`Self::set_aside`].
    fn leave_open(&mut self, memory: &dyn Memory, kernel: &Kernel, patching: bool) {
        self.pending.clear();
        self.undecided = 0;
        if memory.is_at_rest() {
            self.set_aside(memory, kernel);
            return;
        }
        let any_site = self.opinion.wrong.iter().any(|wrong| wrong.mechanism.is_some());
        let since = match self.pending_since.filter(|_| patching && any_site) {
            None if patching && any_site => {
                Some((Instant::now(), kernel.pulse.read_clocks(memory)))
            }
            since => since,
        };
        self.pending_since = since;
        let patient = since.is_some_and(|(since, _)| since.elapsed() < PATCHING_TIMEOUT);
        let is_open = |wrong: &mut Wrong| {
            !self.suspects.stand(wrong) || (patient && wrong.mechanism.is_some())
        };
        self.pending = self.opinion.wrong.extract_if(.., is_open).collect();
        // A file that looks like live memory may be a copy of it.
        let stands_still = |(_, then): (Instant, Beat)| {
            let now = kernel.pulse.read_clocks(memory);
            now.is_known() && now == then
        };
        if !patient && since.is_some_and(stands_still) {
            self.set_aside(memory, kernel);
        }
    }

    /// Takes the sites out of the unexplained places that the kernel was rewriting when its memory
    /// came to rest, by the mutexes that it held. Their tables and keys then contradict them,
    /// whatever changed them. All other places stay unexplained.
    fn set_aside(&mut self, memory: &dyn Memory, kernel: &Kernel) {
        let mechanisms = self.patching.mechanisms(&State::of(memory, kernel));
        let is_patched =
            |wrong: &mut Wrong| wrong.mechanism.is_some_and(|it| mechanisms.contains(&it));
        let undecided: Vec<Wrong> = self.opinion.wrong.extract_if(.., is_patched).collect();
        self.undecided = undecided.len();
        for Wrong { at, length, mechanism, .. } in undecided {
            let mechanism = mechanism.unwrap_or(Mechanism::Ftrace);
            self.opinion.not_judge(at, length, mechanism, WAS_PATCHING);
        }
    }

    /// Reads each page once, in this order, and marks the pages that changed since the last read.
    /// Whole bytes are compared, which is faster than digests and more exact.
    fn read(
        &mut self,
        memory: &dyn Memory,
        kernel: &Kernel,
        order: Vec<usize>,
    ) -> Result<(), MeasureError> {
        let mut buffer = [0; PAGE];
        for page in order {
            let copy = read_page(memory, kernel, page, &mut buffer)?;
            if self.judge.take_in(page, copy) {
                self.unjudged.insert(page);
            }
        }
        Ok(())
    }
}

/// Reads one page of a text.
fn read_page<'a>(
    memory: &dyn Memory,
    kernel: &Kernel,
    page: usize,
    buffer: &'a mut [u8; PAGE],
) -> Result<&'a [u8], MeasureError> {
    let size = || MeasureError::Size(kernel.text.size);
    let (at, length) = page_extent(&kernel.text, page).ok_or_else(size)?;
    let copy = buffer.get_mut(..length).ok_or_else(size)?;
    memory.read(at, copy)?;
    Ok(copy)
}
