//! What rules go by, and what they find.

use std::cell::RefCell;

use super::super::agreement::{Class, Majority, Votes};
use super::super::branch::Place;
use super::super::site::Site;
use super::super::{Expected, State};

/// What a site is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum SiteState {
    /// A form that the tables and the kernel's state allow.
    Expected,
    /// A branch to a place that is to be followed.
    Followed(u8, Place),
    /// Nothing of the kind: why.
    Unexpected(&'static str),
}

/// Judges the bytes of a site that stand at an image offset.
pub(super) type JudgeSite = fn(&mut Rules<'_>, &Site, &[u8], u32) -> SiteState;

/// What rules go by.
pub(in super::super) struct Rules<'a> {
    pub(in super::super) expected: &'a Expected,
    pub(in super::super) state: &'a State<'a>,
    /// What the kernel as a whole chose, once that is known.
    pub(super) majority: Option<&'a Majority>,
    pub(in super::super) votes: Votes,
    /// Judges a site that is part of an alternative: the rule for alternatives needs all rules.
    pub(super) judge_inner: JudgeSite,
    /// Words of the kernel's state, each read once for all sites that go by it.
    words: RefCell<Vec<(u32, Option<u64>)>>,
}

/// Said of a site that chose otherwise than the rest.
pub(super) const DISSENT: &str =
    "a form that other sites do not have: the kernel chooses one form for all";

impl<'a> Rules<'a> {
    /// Rules for sites whose bytes were read at one moment, a page's.
    pub(in super::super) fn of(
        expected: &'a Expected,
        state: &'a State<'a>,
        majority: Option<&'a Majority>,
        judge_inner: JudgeSite,
    ) -> Self {
        let (votes, words) = (Votes::default(), RefCell::default());
        Self { expected, state, majority, votes, judge_inner, words }
    }

    /// A 64-bit word of the image as it stands now.
    pub(super) fn word(&self, offset: u32) -> Option<u64> {
        let mut words = self.words.borrow_mut();
        if let Some((_, word)) = words.iter().find(|(at, _)| *at == offset) {
            return *word;
        }
        let word = self.state.word(offset);
        words.push((offset, word));
        word
    }

    /// A pointer of the image as it stands now, as an image offset; `None` when it leads elsewhere.
    pub(super) fn pointer(&self, offset: u32) -> Option<u32> {
        self.state.offset_of(self.word(offset)?)
    }

    /// Casts a vote; the form is wrong where most sites chose otherwise.
    pub(super) fn vote(&mut self, class: Class, choice: u64) -> SiteState {
        self.votes.cast(class, choice);
        match self.majority {
            Some(majority) if !majority.allows(class, choice) => SiteState::Unexpected(DISSENT),
            _ => SiteState::Expected,
        }
    }
}
