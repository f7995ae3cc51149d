//! The facts that were reported about a node. An alarm is not repeated while its fact stands.

use std::collections::BTreeSet;

use watchdog_core::memory::PhysAddr;
use watchdog_core::verify::Identity;
use watchdog_core::verify::judge::Cause;

/// The facts that were reported about one node and still stand.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// Differences of the text: the address, and the bytes found there.
    pub(super) differences: Facts<(PhysAddr, Vec<u8>)>,
    /// Causes of instrumented text.
    pub(super) causes: Facts<Cause>,
    /// What of the text is not judged: mechanism and reason. An entry is never news twice, also if
    /// it comes and goes.
    pub(super) not_judged: Facts<(String, String)>,
    /// Findings about the mapping of the text.
    pub(super) mapping: Facts<String>,
    /// The statement of witnesses that contradict the watched kernel.
    pub(super) doubt: Facts<String>,
    /// The clocks of the watched kernel stand still.
    pub(super) stopped: Facts<()>,
    /// A kernel boots: the node's next one, or one beside the watched kernel.
    pub(super) booting: Facts<()>,
    /// The node is lost.
    pub(super) lost: Facts<()>,
    /// The kernel that was found but has no baseline.
    pub(super) refused: Facts<Identity>,
    /// Strays, by the message of their event.
    pub(super) strays: Facts<String>,
    /// There are more strays than are reported one by one.
    pub(super) more_strays: Facts<()>,
}

impl Reported {
    /// Forgets all facts except the strays, because the node's kernel was replaced or is gone.
    pub(super) fn forget_kernel(&mut self) {
        let Self { strays, more_strays, .. } = std::mem::take(self);
        *self = Self { strays, more_strays, ..Self::default() };
    }
}

/// Facts of one kind that were reported and still stand.
#[derive(Debug)]
pub(super) struct Facts<T>(BTreeSet<T>);

impl<T> Default for Facts<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord> Facts<T> {
    /// Adds a fact. Returns whether it is new.
    pub(super) fn add(&mut self, fact: T) -> bool {
        self.0.insert(fact)
    }

    /// Whether a fact was reported.
    pub(super) fn contains(&self, fact: &T) -> bool {
        self.0.contains(fact)
    }

    /// Whether the fact of each item found now was reported.
    pub(super) fn contains_all<I>(&self, found: &[I], fact: impl Fn(&I) -> T) -> bool {
        found.iter().all(|item| self.contains(&fact(item)))
    }

    /// The number of facts that stand.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no fact stands.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The items whose fact was not reported: the first `most` of them in their order, and the
    /// number of the others.
    pub(super) fn news<'a, I>(
        &self,
        found: &'a [I],
        fact: impl Fn(&I) -> T,
        most: usize,
    ) -> (Vec<&'a I>, usize) {
        let mut new = found.iter().filter(|item| !self.contains(&fact(item)));
        (new.by_ref().take(most).collect(), new.count())
    }

    /// Replaces the facts by those that stand now. Returns whether they changed.
    pub(super) fn replace(&mut self, now: impl IntoIterator<Item = T>) -> bool {
        let before = std::mem::replace(&mut self.0, now.into_iter().collect());
        before != self.0
    }

    /// Forgets all facts. Returns whether any stood.
    pub(super) fn clear(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the first of many findings are reported in their order and the rest is counted.
    /// Check that none is reported twice.
    #[test]
    fn many_findings_are_few_events() {
        const MOST: usize = 16;
        let findings: Vec<String> = (0..262_000).rev().map(|n| n.to_string()).collect();
        let mut reported = Facts::default();
        let (new, rest) = reported.news(&findings, String::clone, MOST);
        assert_eq!((new.len(), rest), (MOST, findings.len() - MOST));
        assert_eq!(new.first().map(|first| first.as_str()), Some("261999"));
        reported.replace(findings.iter().skip(1).cloned());
        assert_eq!(reported.news(&findings, String::clone, MOST), (vec![&findings[0]], 0));
        assert!(!reported.contains_all(&findings, String::clone));
        assert!(reported.contains_all(&findings[1..], String::clone));
    }

    /// Check that a fact is new only once while it stands, and new again after it was gone.
    #[test]
    fn once_while_it_stands() {
        let mut facts = Facts::default();
        assert!(facts.add(1) && !facts.add(1));
        assert!(facts.clear() && !facts.clear() && facts.add(1));
        assert!(!facts.replace([1]) && facts.replace([2]));
        assert!(facts.contains(&2) && !facts.contains(&1));
        assert!(facts.replace(None) && facts.is_empty());
    }

    /// Check that the alarms of another kernel are new, and that strays stay known.
    #[test]
    fn strays_outlast_the_kernel() {
        let mut reported = Reported::default();
        assert!(reported.lost.add(()) && reported.doubt.add("a witness".to_owned()));
        assert!(reported.strays.add("a stray".to_owned()) && reported.more_strays.add(()));
        reported.forget_kernel();
        assert!(reported.lost.add(()) && reported.doubt.add("a witness".to_owned()));
        assert!(!reported.strays.add("a stray".to_owned()) && !reported.more_strays.add(()));
    }
}
