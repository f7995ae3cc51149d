//! Choices that a kernel makes once for all sites: processor features, lock prefixes, the values of
//! constants. A single site with another choice was changed.

use std::collections::BTreeMap;

/// The subject of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Whether the processor has a feature: 0 or 1.
    Feature(u16),
    /// Whether locks have a prefix: 0 or 1.
    SmpLock,
    /// How unused landing pads are sealed: 0 if they are not, or the number of the NOP.
    IbtSeal,
    /// Whether returns lead through the thunk that the kernel chose: 0 or 1.
    ReturnThunk,
    /// How indirect branches are made.
    Retpoline,
    /// Whether indirect branches in the lower half of a cache line lead through a thunk: 0 or 1.
    AlignedBranch,
    /// Whether places of control-flow integrity have a form that no rule knows: 0 or 1.
    Cfi(CfiPlace),
    /// Whether calls that an alternative begins with are counted: 0 or 1. Calls through a pointer
    /// that became direct may differ from the others.
    CountedCall { direct: bool },
    /// The value of a runtime constant.
    Constant(u32),
}

/// A place that control-flow integrity rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CfiPlace {
    Preamble {
        is_sealed: bool,
    },
    Entry,
    Caller,
    /// The call behind a caller's check.
    Call,
    /// A sealed function without a preamble.
    Seal,
}

/// Number of sites for each choice.
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

    /// Whether any of these choices differs from the majority's.
    pub(super) fn dissent(&self, majority: &Majority) -> bool {
        self.0.keys().any(|(class, choice)| !majority.allows(*class, *choice))
    }

    /// Logs the first choices that differ from the majority's.
    pub(super) fn log_dissent(&self, majority: &Majority) {
        const LOGGED: usize = 32;
        let other = |(class, choice): &(Class, u64)| !majority.allows(*class, *choice);
        for ((class, choice), count) in self.0.iter().filter(|(it, _)| other(it)).take(LOGGED) {
            log::debug!("{class:?}: {count} sites chose {choice:#x}, and most chose otherwise");
        }
    }

    /// The choice of most sites, for each class.
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

/// The choices of a kernel as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Majority(BTreeMap<Class, u64>);

impl Majority {
    /// Whether a choice agrees with the majority's. Any choice does if the majority has none.
    pub(super) fn allows(&self, class: Class, choice: u64) -> bool {
        self.0.get(&class).is_none_or(|chosen| *chosen == choice)
    }
}
