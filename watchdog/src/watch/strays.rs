//! Strays: kernels in a node's memory that the node does not run. Decides which are reported.

use super::reported::Reported;

/// The number of strays of one node that are reported one by one. An adversary can make any number.
pub(super) const MOST_STRAYS: usize = 256;

/// What to report about a stray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The stray itself.
    Stray,
    /// A single event that there are more strays.
    More,
    /// Nothing: the stray, or the limit, was reported before.
    Nothing,
}

impl Report {
    /// Records a stray, described by `message`, in the reported facts of its node.
    pub(super) fn of_stray(reported: &mut Reported, message: &str) -> Self {
        if reported.strays.contains(&message.to_owned()) {
            return Self::Nothing;
        }
        if reported.strays.len() < MOST_STRAYS {
            reported.strays.add(message.to_owned());
            return Self::Stray;
        }
        if reported.more_strays.add(()) { Self::More } else { Self::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that each stray is reported once, and that one event reports a flood.
    #[test]
    fn flood_ends_with_a_word() {
        let mut reported = Reported::default();
        let mut count = |wanted| {
            let flood =
                (0..1000).filter(|n| Report::of_stray(&mut reported, &format!("at {n}")) == wanted);
            flood.count()
        };
        assert_eq!(count(Report::Stray), MOST_STRAYS);
        assert_eq!(count(Report::More), 0, "only once");
        assert_eq!(count(Report::Nothing), 1000);
    }
}
