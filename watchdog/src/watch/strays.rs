//! Which kernels that a node does not run were reported already.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::NodeName;

/// Strays of one node that are reported one by one; an adversary can make any number.
pub(super) const MOST_STRAYS: usize = 256;

/// The strays that were reported, by node: one node's flood takes nothing from another.
#[derive(Debug, Default)]
pub(super) struct Strays(BTreeMap<String, Reported>);

#[derive(Debug, Default)]
struct Reported {
    messages: BTreeSet<String>,
    /// Whether an event said that there are more.
    is_full: bool,
}

/// What is to be reported of a stray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The stray itself.
    Stray,
    /// That there are more strays than are reported one by one.
    More,
    /// Nothing that was not reported before.
    Nothing,
}

impl Strays {
    /// Takes note of a stray of a node, described by `message`.
    pub(super) fn add(&mut self, node: &NodeName, message: &str) -> Report {
        let reported = self.0.entry(node.to_string()).or_default();
        if reported.messages.contains(message) {
            return Report::Nothing;
        }
        if reported.messages.len() < MOST_STRAYS {
            reported.messages.insert(message.to_owned());
            return Report::Stray;
        }
        let is_news = !std::mem::replace(&mut reported.is_full, true);
        if is_news { Report::More } else { Report::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that each stray is reported once, that a flood ends with one event that says so, and
    /// that the strays of another node are reported all the same.
    #[test]
    fn flood_ends_with_a_word() {
        let (a, b) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
        let mut strays = Strays::default();
        let mut count = |node, report| {
            let flood = (0..1000).filter(|n| strays.add(node, &format!("at {n}")) == report);
            flood.count()
        };
        assert_eq!(count(&a, Report::Stray), MOST_STRAYS);
        assert_eq!(count(&a, Report::More), 0, "only once");
        assert_eq!(count(&b, Report::More), 1);
        assert_eq!(count(&b, Report::Nothing), 1000);
    }
}
