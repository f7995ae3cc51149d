//! Choices that a kernel makes once for all sites: which processor features it has, whether it
//! needs lock prefixes, what a constant is. A single site that chose otherwise was changed.

use std::collections::BTreeMap;

/// What is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Whether the processor has a feature: 0 or 1.
    Feature(u16),
    /// Whether locks are taken: 0 or 1.
    SmpLock,
    /// Whether unused landing pads are sealed: 0 or 1.
    IbtSeal,
    /// How indirect branches are made.
    Retpoline,
    /// How far before a function calls are counted, in bytes.
    CallDepth,
    /// The value of a runtime constant.
    Constant(u32),
}

/// Who chose what: numbers of sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Votes(BTreeMap<(Class, u64), u32>);

impl Votes {
    pub(super) fn cast(&mut self, class: Class, choice: u64) {
        let count = self.0.entry((class, choice)).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (choice, count) in &other.0 {
            let sum = self.0.entry(*choice).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Whether any of these choices is not the majority's.
    pub(super) fn dissent(&self, majority: &Majority) -> bool {
        self.0.keys().any(|(class, choice)| !majority.allows(*class, *choice))
    }

    /// Logs who chose otherwise than most, the first choices of them.
    pub(super) fn log_dissent(&self, majority: &Majority) {
        const LOGGED: usize = 32;
        let other = |(class, choice): &(Class, u64)| !majority.allows(*class, *choice);
        for ((class, choice), count) in self.0.iter().filter(|(it, _)| other(it)).take(LOGGED) {
            log::debug!("{class:?}: {count} sites chose {choice:#x}, and most chose otherwise");
        }
    }

    /// What most sites chose, of each class.
    pub(super) fn majority(&self) -> Majority {
        let mut best: BTreeMap<Class, (u64, u32)> = BTreeMap::new();
        for ((class, choice), count) in &self.0 {
            let entry = best.entry(*class).or_insert((*choice, *count));
            if *count > entry.1 {
                *entry = (*choice, *count);
            }
        }
        Majority(best.into_iter().map(|(class, (choice, _))| (class, choice)).collect())
    }
}

/// What a kernel as a whole chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Majority(BTreeMap<Class, u64>);

impl Majority {
    /// Whether a choice is not against the majority's.
    pub(super) fn allows(&self, class: Class, choice: u64) -> bool {
        self.0.get(&class).is_none_or(|chosen| *chosen == choice)
    }
}
