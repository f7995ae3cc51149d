//! Judges a whole text repeatedly: only pages that changed are judged again.

use std::collections::{BTreeMap, BTreeSet};

use super::agreement::{Majority, Votes};
use super::causes::{Causes, Which};
use super::opinion::Opinion;
use super::page::{Judged, PAGE, judge};
use super::tracing::{Armed, ListLayouts, NoCause, Probes, Tracing};
use super::{Expected, Mechanism, State, Wrong};
use crate::digest::Digest;
use crate::verify::not_judged;

/// Unexplained places that are examined as probes that cannot be read.
const MAX_PROBES: usize = 4096;

/// A text under judgement: the copy that was judged last, and its judgement.
#[derive(Clone, Debug)]
pub struct TextJudge {
    expected: Expected,
    /// The text as it was read, probes included.
    raw: Vec<u8>,
    /// The pages that have been read.
    read: Vec<bool>,
    /// Digest of `raw`, until `raw` changes.
    sha256: Option<Digest>,
    /// The text without probes; empty while there are none.
    unprobed: Vec<u8>,
    armed: Vec<Armed>,
    /// Those of the last look.
    layouts: ListLayouts,
    pages: Vec<Judged>,
    /// Sums over `pages`, until the judgement of a page changes.
    sums: Option<Sums>,
    majority: Option<Majority>,
}

/// The judgement of all pages together.
#[derive(Clone, Debug, Default)]
struct Sums {
    patched: BTreeMap<Mechanism, u32>,
    not_judged: not_judged::Counts,
    pages_differing: usize,
    /// Whether closed tables explain everything.
    settled: bool,
}

impl TextJudge {
    /// Makes a judge that has not read the text yet.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        let pages = expected.text().len().div_ceil(PAGE);
        Self {
            raw: vec![0; expected.text().len()],
            read: vec![false; pages],
            sha256: None,
            unprobed: Vec::new(),
            expected,
            armed: Vec::new(),
            layouts: ListLayouts::default(),
            pages: vec![Judged::default(); pages],
            sums: None,
            majority: None,
        }
    }

    /// The expected text.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// The text as it was last read.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The sites that closed tables explain: image offset, bytes, mechanism.
    pub(in crate::verify) fn patched(&self) -> impl Iterator<Item = (u32, u32, Mechanism)> {
        let patched = self.pages.iter().flat_map(|page| &page.patched);
        patched.map(|(at, length, mechanism)| (*at, u32::from(*length), *mechanism))
    }

    /// Stores a page that was read. Returns whether it differs from the last read.
    pub fn take_in(&mut self, page: usize, bytes: &[u8]) -> bool {
        let start = page.saturating_mul(PAGE);
        let place = self.raw.get_mut(start..start.saturating_add(bytes.len()));
        let (Some(place), Some(read)) = (place, self.read.get_mut(page)) else { return false };
        if *read && place == bytes {
            return false;
        }
        *read = true;
        self.sha256 = None;
        place.copy_from_slice(bytes);
        true
    }

    /// The sites whose form is not judged: image offset, bytes, mechanism, reason.
    fn not_judged(&self) -> impl Iterator<Item = (u32, u32, Mechanism, &'static str)> {
        let sites = self.pages.iter().flat_map(|page| &page.not_judged);
        sites.map(|(at, length, mechanism, why)| (*at, u32::from(*length), *mechanism, *why))
    }

    /// SHA-256 over the text as it was last read.
    pub(in crate::verify) fn sha256(&mut self) -> Digest {
        *self.sha256.get_or_insert_with(|| Digest::of(&self.raw))
    }

    /// The pages with unexplained places.
    pub(in crate::verify) fn unsettled(&self) -> impl Iterator<Item = usize> {
        let unsettled = |(n, page): (usize, &Judged)| (!page.wrong.is_empty()).then_some(n);
        self.pages.iter().enumerate().filter_map(unsettled)
    }

    /// Judges `changed` and `others`, the pages that reach into changed ones, and the pages with
    /// probes. Each page is judged right after `read` has read it again. Its bytes and the state
    /// that it is compared with are then from nearly the same moment. The kernel's lists of tracers
    /// are read again every time.
    pub fn judge(
        &mut self,
        changed: &BTreeSet<usize>,
        others: &BTreeSet<usize>,
        state: &State<'_>,
        read: &mut dyn FnMut(usize) -> Option<Vec<u8>>,
    ) -> Opinion {
        let page_of = |at: u32| (at as usize).checked_div(PAGE).unwrap_or_default();
        let layouts = ListLayouts::look(&self.expected, state);
        self.log_layouts(&layouts);
        let probes = Probes::look(&self.expected, state, &layouts);
        let had: Vec<usize> = self.armed.iter().map(|armed| page_of(armed.at)).collect();
        self.armed = probes.armed(&self.expected, state, &self.raw, 0..u32::MAX);
        let have = self.armed.iter().map(|armed| page_of(armed.at));
        // A probe's jump may reach into the next page. So may a site of the page before.
        let touched: Vec<usize> = had.into_iter().chain(have).collect();
        let behind = touched.iter().map(|page| page.saturating_add(1));
        let before = changed.iter().filter_map(|page| page.checked_sub(1));
        // The text stays the same if only a thunk outside it changes.
        let lost = (0..).zip(&self.pages).filter_map(|(n, page): (usize, &Judged)| {
            page.thunks.iter().any(|thunk| !thunk.stands(state)).then_some(n)
        });
        let due = changed.iter().chain(others).chain(&touched).copied();
        let due = due.chain(behind).chain(before).chain(lost);
        let due: BTreeSet<usize> = due.collect();
        for &page in &due {
            if let Some(bytes) = read(page) {
                self.take_in(page, &bytes);
                let start = u32::try_from(page.saturating_mul(PAGE)).unwrap_or(u32::MAX);
                // A probe's jump may reach in from the page before.
                let near = start.saturating_sub(8)..start.saturating_add(PAGE as u32);
                self.armed.retain(|armed| !near.contains(&armed.at));
                self.armed.extend(probes.armed(&self.expected, state, &self.raw, near));
            }
            self.remove_probes(page);
            self.judge_page(page, state, None);
        }
        self.agree(&due, state);
        let opinion = self.opinion(state, &probes, &layouts);
        self.layouts = layouts;
        opinion
    }

    /// Logs the layouts by which lists are read, if they are others than before and are not all
    /// described.
    fn log_layouts(&self, layouts: &ListLayouts) {
        if *layouts != self.layouts && !self.expected.reference.undescribed().is_empty() {
            log::debug!("layouts that are described, or fit the kernel's lists: {layouts:?}");
        }
    }

    /// Updates one page of the copy without probes.
    fn remove_probes(&mut self, page: usize) {
        if self.armed.is_empty() {
            self.unprobed = Vec::new();
            return;
        }
        if self.unprobed.is_empty() {
            self.unprobed = self.raw.clone();
        }
        let start = page.saturating_mul(PAGE);
        // A site may reach into the next page.
        let end = start.saturating_add(PAGE).saturating_add(PAGE).min(self.raw.len());
        let raw = self.raw.get(start..end);
        if let (Some(place), Some(raw)) = (self.unprobed.get_mut(start..end), raw) {
            place.copy_from_slice(raw);
        }
        for armed in &self.armed {
            let place = self.unprobed.get_mut(armed.at as usize..);
            if let Some(place) = place.and_then(|place| place.get_mut(..armed.replaced.len())) {
                place.copy_from_slice(&armed.replaced);
            }
        }
    }

    /// Judges pages again where some sites chose otherwise than most. The choice of most sites then
    /// decides.
    fn agree(&mut self, judged: &BTreeSet<usize>, state: &State<'_>) {
        if let Some(majority) = &self.majority {
            let mut judged = judged.iter().filter_map(|page| self.pages.get(*page));
            if !judged.any(|page| page.votes.dissent(majority)) {
                return;
            }
        }
        let mut votes = Votes::default();
        self.pages.iter().for_each(|page| votes.add(&page.votes));
        let majority = votes.majority();
        let dissents = |(n, page): (usize, &Judged)| page.votes.dissent(&majority).then_some(n);
        let dissenting: Vec<_> = self.pages.iter().enumerate().filter_map(dissents).collect();
        if !dissenting.is_empty() {
            votes.log_dissent(&majority);
        }
        for page in dissenting {
            self.judge_page(page, state, Some(&majority));
        }
        self.majority = Some(majority);
    }

    fn judge_page(&mut self, page: usize, state: &State<'_>, majority: Option<&Majority>) {
        let live = if self.unprobed.is_empty() { &self.raw } else { &self.unprobed };
        let mut judged = judge(&self.expected, live, state, page, majority);
        let start = page.saturating_mul(PAGE);
        let end = start.saturating_add(PAGE).min(self.raw.len());
        judged.differs = self.raw.get(start..end) != self.expected.text().get(start..end);
        if let Some(place) = self.pages.get_mut(page).filter(|place| **place != judged) {
            *place = judged;
            self.sums = None;
        }
    }

    fn opinion(&mut self, state: &State<'_>, probes: &Probes, layouts: &ListLayouts) -> Opinion {
        let sums = self.sums.take().unwrap_or_else(|| self.sums());
        let mut opinion = Opinion {
            patched: sums.patched.clone(),
            not_judged: sums.not_judged.clone(),
            not_judged_places: self.not_judged().collect(),
            pages_differing: sums.pages_differing,
            ..Opinion::default()
        };
        let settled = sums.settled && self.armed.is_empty();
        self.sums = Some(sums);
        if settled {
            return opinion;
        }
        let mut causes = Causes::default();
        let any_open = self.pages.iter().any(|page| !page.open.is_empty());
        let tracing = (any_open || !self.armed.is_empty())
            .then(|| Tracing::look(&self.expected, state, probes, layouts));
        if let Some(tracing) = &tracing {
            for Armed { at, replaced, probe } in &self.armed {
                let length = u32::try_from(replaced.len()).unwrap_or(u32::MAX);
                let cause = causes.take_in(tracing.cause_of_probe(probe, *at));
                causes.add(cause, (*at, length));
            }
            self.follow(tracing, &mut causes, &mut opinion);
        }
        opinion.wrong.extend(self.pages.iter().flat_map(|page| &page.wrong));
        opinion.wrong.sort_by_key(|wrong| wrong.at);
        self.set_probes_aside(probes, state, &mut opinion);
        causes.report_to(&mut opinion);
        opinion
    }

    /// Takes the places out of the unexplained ones that may be probes, if probes cannot be read.
    fn set_probes_aside(&self, probes: &Probes, state: &State<'_>, opinion: &mut Opinion) {
        // More places than a kernel has probes are no probes.
        if opinion.wrong.len() > MAX_PROBES {
            return;
        }
        for wrong in std::mem::take(&mut opinion.wrong) {
            match probes.may_be(&self.expected, state, &self.raw, &wrong) {
                Some(why) => opinion.not_judge(wrong.at, wrong.length, Mechanism::Kprobe, why),
                None => opinion.wrong.push(wrong),
            }
        }
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums { settled: true, ..Sums::default() };
        for page in &self.pages {
            for (mechanism, count) in &page.counts {
                let sum = sums.patched.entry(*mechanism).or_default();
                *sum = sum.saturating_add(*count);
            }
            for (.., mechanism, why) in &page.not_judged {
                let count = sums.not_judged.entry((*mechanism, *why)).or_default();
                *count = count.saturating_add(1);
            }
            sums.pages_differing = sums.pages_differing.saturating_add(page.differs.into());
            sums.settled &= page.open.is_empty() && page.wrong.is_empty();
        }
        sums
    }

    /// Follows every branch out of the text. Each target is followed once, unless the result
    /// depends on the place of the branch.
    fn follow(&self, tracing: &Tracing<'_>, causes: &mut Causes, opinion: &mut Opinion) {
        let mut known: BTreeMap<(u8, i64), Result<Which, NoCause>> = BTreeMap::new();
        for open in self.pages.iter().flat_map(|page| &page.open) {
            let mut follow = || tracing.follow(open).map(|cause| causes.take_in(cause));
            let found = if tracing.is_of_place(open) {
                follow()
            } else {
                *known.entry((open.opcode, open.target)).or_insert_with(follow)
            };
            match found {
                Ok(cause) => causes.add(cause, (open.at, open.length)),
                Err(NoCause::Unexplained(why)) => opinion.wrong.push(Wrong {
                    at: open.at,
                    length: open.length,
                    mechanism: Some(Mechanism::Ftrace),
                    why,
                }),
                Err(NoCause::NotJudged(why)) => {
                    opinion.not_judge(open.at, open.length, Mechanism::Ftrace, why);
                }
            }
        }
    }
}
