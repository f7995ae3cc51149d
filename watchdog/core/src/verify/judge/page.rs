//! Judges one page: its sites, and the bytes between them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::agreement::{Majority, Votes};
use super::branch::Place;
use super::rules::{self, Rules, SiteState};
use super::thunks::Thunk;
use super::{Expected, Mechanism, State, old_nops};
use crate::verify::difference::{MAX_OF_PAGE, stretches};

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// The longest possible site: the length of an alternative is one byte.
const LONGEST_SITE: usize = 256;

/// A branch to a target that the tables do not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// Image offset of the site.
    pub(super) at: u32,
    /// Its bytes.
    pub(super) length: u32,
    /// The opcode of the branch.
    pub(super) opcode: u8,
    /// The target of the branch.
    pub(super) target: Place,
}

/// A place that no rule explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Image offset of its first byte.
    pub at: u32,
    /// Its bytes.
    pub length: u32,
    /// The mechanism of the rule that judged the place, if it is a site.
    pub mechanism: Option<Mechanism>,
    /// What is wrong, as part of a sentence.
    pub why: &'static str,
}

/// The judgement of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Sites that are not as linked but that a rule explains: image offset, bytes, mechanism.
    pub(super) patched: Vec<(u32, u8, Mechanism)>,
    /// Number of these sites, by mechanism.
    pub(super) counts: Vec<(Mechanism, u32)>,
    /// Sites that are not judged: image offset, bytes, mechanism, and why.
    pub(super) not_judged: Vec<(u32, u8, Mechanism, &'static str)>,
    /// Branches that must be followed.
    pub(super) open: Vec<Open>,
    /// Unexplained places.
    pub(super) wrong: Vec<Wrong>,
    /// Whether the page is not as linked.
    pub(super) differs: bool,
    pub(super) votes: Votes,
    /// The thunks outside the image that its branches lead to.
    pub(super) thunks: Vec<Thunk>,
}

/// Judges page `page` of a text. `live` is a copy of the whole text.
pub(super) fn judge(
    expected: &Expected,
    live: &[u8],
    state: &State<'_>,
    page: usize,
    majority: Option<&Majority>,
) -> Judged {
    let mut judged = Judged::default();
    let mut rules = Rules::of(expected, state, majority, rules::judge);
    let start = page.saturating_mul(PAGE);
    let end = start.saturating_add(PAGE).min(expected.text().len());
    let sites = expected.sites();
    // A site may begin on the page before.
    let first =
        sites.partition_point(|site| (site.at as usize).saturating_add(LONGEST_SITE) <= start);
    let mut done = start;
    for site in sites.get(first..).unwrap_or_default() {
        let at = site.at as usize;
        if at >= end {
            break;
        }
        let site_end = at.saturating_add(site.length.into());
        // A site that an earlier one covers is judged as part of that one.
        if site.nested || site_end <= start || (start..done).contains(&at) {
            continue;
        }
        between(expected, live, done, at, &mut judged);
        done = done.max(site_end);
        if at < start {
            continue;
        }
        let linked = expected.linked(site.at, site.length.into());
        let found = live.get(at..site_end).unwrap_or_default();
        let (mechanism, length) = (site.kind.mechanism(), u32::from(site.length));
        let form = if expected.has_old_nops && linked != found {
            old_nops::as_later(found)
        } else {
            Cow::Borrowed(found)
        };
        match rules::judge(&mut rules, site, &form, site.at) {
            SiteState::Expected if linked != found => {
                judged.patched.push((site.at, site.length, mechanism));
            }
            SiteState::Expected => {}
            SiteState::Followed(opcode, target) => {
                judged.open.push(Open { at: site.at, length, opcode, target });
            }
            SiteState::NotJudged(why) => {
                judged.not_judged.push((site.at, site.length, mechanism, why));
            }
            SiteState::Unexpected(why) => {
                let mechanism = Some(mechanism);
                judged.wrong.push(Wrong { at: site.at, length, mechanism, why });
            }
        }
    }
    between(expected, live, done, end, &mut judged);
    merge(&mut judged.wrong);
    let mut counts: BTreeMap<Mechanism, u32> = BTreeMap::new();
    for (_, _, mechanism) in &judged.patched {
        let count = counts.entry(*mechanism).or_default();
        *count = count.saturating_add(1);
    }
    judged.counts = counts.into_iter().collect();
    (judged.votes, judged.thunks) = (rules.votes, rules.thunks);
    judged
}

/// Compares the bytes between sites, from `start` to `end`.
fn between(expected: &Expected, live: &[u8], start: usize, end: usize, judged: &mut Judged) {
    let linked = expected.text().get(start..end).unwrap_or_default();
    let found = live.get(start..end).unwrap_or_default();
    if linked == found {
        return;
    }
    for (offset, length) in stretches(linked, found) {
        judged.wrong.push(Wrong {
            at: u32::try_from(start.saturating_add(offset)).unwrap_or(u32::MAX),
            length: u32::try_from(length).unwrap_or(u32::MAX),
            mechanism: None,
            why: "not a known patch site",
        });
    }
}

/// Merges the unexplained places between sites into one if there are too many. Sites are not
/// merged, because tables bound their number. A kernel that switches many sites at once is judged
/// when it is done.
fn merge(wrong: &mut Vec<Wrong>) {
    let mut between = wrong.iter().filter(|wrong| wrong.mechanism.is_none());
    let (Some(first), Some(last)) = (between.next(), between.next_back()) else { return };
    // The count leaves out the first and the last.
    if between.count().saturating_add(2) <= MAX_OF_PAGE {
        return;
    }
    let end = last.at.saturating_add(last.length);
    let all = Wrong { length: end.saturating_sub(first.at), ..*first };
    wrong.retain(|wrong| wrong.mechanism.is_some());
    let place = wrong.partition_point(|wrong| wrong.at < all.at);
    wrong.insert(place, all);
}
