//! One rule a mechanism: which forms a site may have, and what the kernel's own state must say.

mod alternatives;
mod call_sites;
mod constants;
mod fentry;
mod jump_labels;
mod locks;
mod paravirt;
mod retpolines;
mod returns;
mod seals;
mod static_calls;

use std::cell::RefCell;

use super::agreement::{Class, Majority, Votes};
use super::branch::Place;
use super::sites::{Kind, Site};
use super::{Expected, State};

/// What a site is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A form that the tables and the kernel's state allow.
    Allowed,
    /// A branch to a place that is to be followed.
    Open(u8, Place),
    /// Nothing of the kind: why.
    Wrong(&'static str),
}

/// What rules go by.
pub(super) struct Rules<'a> {
    pub(super) expected: &'a Expected,
    pub(super) state: &'a State<'a>,
    /// What the kernel as a whole chose, once that is known.
    majority: Option<&'a Majority>,
    pub(super) votes: Votes,
    /// Words of the kernel's state, each read once for all sites that go by it.
    words: RefCell<Vec<(u32, Option<u64>)>>,
}

/// Said of a site that chose otherwise than the rest.
const DISSENT: &str = "a form that other sites do not have: the kernel chose once for all";

impl<'a> Rules<'a> {
    /// Rules for sites whose bytes were read at one moment, a page's.
    pub(super) fn of(
        expected: &'a Expected,
        state: &'a State<'a>,
        majority: Option<&'a Majority>,
    ) -> Self {
        Self { expected, state, majority, votes: Votes::default(), words: RefCell::default() }
    }

    /// A 64-bit word of the image as it stands now.
    fn word(&self, offset: u32) -> Option<u64> {
        let mut words = self.words.borrow_mut();
        if let Some((_, word)) = words.iter().find(|(at, _)| *at == offset) {
            return *word;
        }
        let word = self.state.word(offset);
        words.push((offset, word));
        word
    }

    /// A pointer of the image as it stands now, as an image offset; `None` when it leads elsewhere.
    fn pointer(&self, offset: u32) -> Option<u32> {
        self.state.offset_of(self.word(offset)?)
    }

    /// Judges `live`, which stands at image offset `to`, by the rule for `site`.
    pub(super) fn judge(&mut self, site: &Site, live: &[u8], to: u32) -> Form {
        match site.kind {
            Kind::Alternative(first, count) => alternatives::judge(self, first, count, live, to),
            Kind::Paravirt(n) => paravirt::judge(self, n, site, live, to),
            Kind::SmpLock => locks::judge(self, live, to),
            Kind::Retpoline(register) => retpolines::judge(self, register, site, live, to),
            Kind::Return => returns::judge(self, live, to),
            Kind::Call => call_sites::judge(self, site, live, to),
            Kind::Seal => seals::judge(self, live),
            Kind::JumpLabel(n) => jump_labels::judge(self, n, live, to),
            Kind::StaticCall(n) => static_calls::judge(self, n, site, live, to),
            Kind::Trampoline(n) => static_calls::judge_trampoline(self, n, live, to),
            Kind::Fentry => fentry::judge(self, live, to),
            Kind::FtraceCall => fentry::judge_inner(self, site, live, to),
            Kind::Constant(n) => constants::judge(self, n, live),
        }
    }

    /// Casts a vote; the form is wrong where most sites chose otherwise.
    fn vote(&mut self, class: Class, choice: u64) -> Form {
        self.votes.cast(class, choice);
        match self.majority {
            Some(majority) if !majority.allows(class, choice) => Form::Wrong(DISSENT),
            _ => Form::Allowed,
        }
    }
}
