//! Unexplained places, and since when they have been unexplained.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::judge::Wrong;
use crate::memory::PAGE_SIZE;

/// How long a place must have been wrong, in every check, before it is reported.
const STAND: Duration = Duration::from_millis(200);
/// The same for a page in which the wrong place moves from check to check. A page in which the
/// kernel patches one site after another is correct between two of them.
const PAGE_STANDS: Duration = Duration::from_secs(30);

/// Unexplained places, each with the time since which it has been wrong.
///
/// A change that moves faster than [`STAND`] stays at no place. Pages are therefore recorded too.
/// `beside_sites` covers all wrong places outside the listed sites, in whichever page.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects {
    places: BTreeMap<u32, Instant>,
    pages: BTreeMap<u64, Instant>,
    beside_sites: Option<Instant>,
}

impl Suspects {
    /// Records the places that are wrong in this check, and forgets all others.
    pub(super) fn see(&mut self, wrong: &[Wrong]) {
        self.see_at(wrong, Instant::now());
    }

    /// Whether a place was wrong in every check for too long to be patching.
    pub(super) fn stand(&self, wrong: &Wrong) -> bool {
        self.stand_at(wrong, Instant::now())
    }

    fn see_at(&mut self, wrong: &[Wrong], now: Instant) {
        let before = std::mem::take(self);
        let since = |seen: Option<&Instant>| seen.copied().unwrap_or(now);
        for wrong in wrong {
            let page = page(wrong);
            self.places.insert(wrong.at, since(before.places.get(&wrong.at)));
            self.pages.insert(page, since(before.pages.get(&page)));
            if wrong.mechanism.is_none() {
                self.beside_sites = Some(since(before.beside_sites.as_ref()));
            }
        }
    }

    fn stand_at(&self, wrong: &Wrong, now: Instant) -> bool {
        let beside_sites = self.beside_sites.filter(|_| wrong.mechanism.is_none());
        let lasts = |since: Option<Instant>, time| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= time)
        };
        lasts(self.places.get(&wrong.at).copied(), STAND)
            || lasts(self.pages.get(&page(wrong)).copied(), PAGE_STANDS)
            || lasts(beside_sites, PAGE_STANDS)
    }
}

/// The page in which a place begins.
fn page(wrong: &Wrong) -> u64 {
    u64::from(wrong.at) / PAGE_SIZE
}

#[cfg(test)]
mod tests {
    use super::super::judge::Mechanism;
    use super::*;

    fn wrong(at: u32, mechanism: Option<Mechanism>) -> Wrong {
        Wrong { at, length: 5, mechanism, why: "made up" }
    }

    /// Checks every 100 ms the places that `place` returns. Returns the time after which one
    /// stands.
    fn stands_after(place: impl Fn(u32) -> Vec<Wrong>) -> Option<Duration> {
        let begun = Instant::now();
        let mut suspects = Suspects::default();
        (0..600).find_map(|look| {
            let time = Duration::from_millis(100) * look;
            let (seen, now) = (place(look), begun + time);
            suspects.see_at(&seen, now);
            seen.iter().any(|wrong| suspects.stand_at(wrong, now)).then_some(time)
        })
    }

    /// Check that a change that stays is reported soon. Check that a change that moves between two
    /// bytes, or two pages, is reported later.
    #[test]
    fn moving_changes_are_said() {
        let site = Some(Mechanism::JumpLabel);
        assert_eq!(stands_after(|_| vec![wrong(8, None)]), Some(STAND));
        for distance in [1, PAGE_SIZE as u32] {
            let moving = |look| vec![wrong(8 + look % 2 * distance, None)];
            assert_eq!(stands_after(moving), Some(PAGE_STANDS), "{distance}");
        }
        let sites = |look| vec![wrong(8 + look % 2 * 64, site)];
        assert_eq!(stands_after(sites), Some(PAGE_STANDS));
    }

    /// Check that a kernel that patches its sites is not reported. Each site is wrong for a moment,
    /// and some checks find nothing wrong.
    #[test]
    fn patching_is_not() {
        let site = Some(Mechanism::JumpLabel);
        let pages = |look: u32| vec![wrong(look % 7 * PAGE_SIZE as u32, site)];
        assert_eq!(stands_after(pages), None);
        let at_times = |look: u32| match look % 3 {
            0 => Vec::new(),
            at => vec![wrong(at, None)],
        };
        assert_eq!(stands_after(at_times), None);
    }
}
