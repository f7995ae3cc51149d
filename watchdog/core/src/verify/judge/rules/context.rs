//! The input and the results of rules.

use std::cell::RefCell;

use super::super::agreement::{Class, Majority, Votes};
use super::super::branch::Place;
use super::super::site::Site;
use super::super::thunks::Thunk;
use super::super::{Expected, State};

/// The result of judging a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum SiteState {
    /// A form that the tables and the kernel's state allow.
    Expected,
    /// A branch whose target must be followed: opcode and target.
    Followed(u8, Place),
    /// A form that cannot be judged, with the reason. It is not an excuse for a form that a rule
    /// can judge: an attacker in the node must not be able to cause it.
    NotJudged(&'static str),
    /// Any other form, with what is wrong.
    Unexpected(&'static str),
}

/// Judges the bytes of a site at an image offset.
pub(super) type JudgeSite = fn(&mut Rules<'_>, &Site, &[u8], u32) -> SiteState;

/// The input of rules.
pub(in super::super) struct Rules<'a> {
    pub(in super::super) expected: &'a Expected,
    pub(in super::super) state: &'a State<'a>,
    /// The choices of the kernel as a whole, once they are known.
    pub(super) majority: Option<&'a Majority>,
    pub(in super::super) votes: Votes,
    /// The thunks outside the image that branches lead to.
    pub(in super::super) thunks: Vec<Thunk>,
    /// Judges a site inside an alternative. The rule for alternatives needs all other rules.
    pub(super) judge_inner: JudgeSite,
    /// Words of the kernel's state. Each is read once for all sites that need it.
    words: RefCell<Vec<(u32, Option<u64>)>>,
}

/// Reported for a site whose choice differs from the others.
pub(super) const DISSENT: &str =
    "a form that other sites do not have: the kernel chooses one form for all";

/// Reported for a branch to a place where the image does not say that a function begins.
pub(super) const MAY_BE_FUNCTION: &str =
    "the image has no symbols that say whether it leads to a function";

impl<'a> Rules<'a> {
    /// Makes the rules for sites whose bytes were read at one moment: those of a page.
    pub(in super::super) fn of(
        expected: &'a Expected,
        state: &'a State<'a>,
        majority: Option<&'a Majority>,
        judge_inner: JudgeSite,
    ) -> Self {
        let (votes, thunks, words) = (Votes::default(), Vec::new(), RefCell::default());
        Self { expected, state, majority, votes, thunks, judge_inner, words }
    }

    /// The current value of a 64-bit word of the image.
    pub(super) fn word(&self, offset: u32) -> Option<u64> {
        let mut words = self.words.borrow_mut();
        if let Some((_, word)) = words.iter().find(|(at, _)| *at == offset) {
            return *word;
        }
        let word = self.state.word(offset);
        words.push((offset, word));
        word
    }

    /// The current value of a pointer in the image, as an image offset; `None` if it leads
    /// elsewhere.
    pub(super) fn pointer(&self, offset: u32) -> Option<u32> {
        self.state.offset_of(self.word(offset)?)
    }

    /// Casts a vote. The form is unexpected if most sites chose another one.
    pub(super) fn vote(&mut self, class: Class, choice: u64) -> SiteState {
        self.votes.cast(class, choice);
        match self.majority {
            Some(majority) if !majority.allows(class, choice) => SiteState::Unexpected(DISSENT),
            _ => SiteState::Expected,
        }
    }
}
