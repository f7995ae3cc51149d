//! When to search memory for a kernel: at first as often as sweeps come, unless that would take more
//! than a third of the sweeping thread's time; later a tenth of it.

use std::time::{Duration, Instant};

/// Time without a search for each time that one took, at first and later.
const REST: u32 = 2;
const LATER_REST: u32 = 9;
/// How long it is searched eagerly: a reboot takes no longer.
const EAGER: Duration = Duration::from_secs(300);

/// The searches for one node's kernel.
#[derive(Debug, Default)]
pub(super) struct Searches {
    first: Option<Instant>,
    next: Option<Instant>,
}

impl Searches {
    /// Whether enough time has passed since the last one.
    pub(super) fn are_due(&self) -> bool {
        self.next.is_none_or(|next| Instant::now() >= next)
    }

    /// Takes note of how long one took that ends now.
    pub(super) fn took(&mut self, time: Duration) {
        let now = Instant::now();
        let searched = now.duration_since(*self.first.get_or_insert(now));
        self.next = now.checked_add(time * rest(searched));
    }
}

/// Time without a search for each time of one, when it is `searched` for so long.
fn rest(searched: Duration) -> u32 {
    if searched < EAGER { REST } else { LATER_REST }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that the first search is due at once, and that a long one is followed by a long rest.
    #[test]
    fn a_third_of_the_time() {
        let mut searches = Searches::default();
        assert!(searches.are_due());
        searches.took(Duration::from_secs(60));
        assert!(!searches.are_due());
        searches.took(Duration::ZERO);
        assert!(searches.are_due());
    }

    /// Check that the rest is longer once it was searched for long.
    #[test]
    fn a_tenth_later() {
        assert_eq!([Duration::ZERO, EAGER].map(rest), [REST, LATER_REST]);
    }
}
