//! Decides when to search memory for a kernel. At first a search is due at every sweep, but
//! searches take at most a third of the sweeping thread's time. Later they take at most a tenth of
//! it.

use std::time::{Duration, Instant};

use crate::node::Candidate;
use watchdog_core::memory::{RangeSet, ReadError};
use watchdog_core::text::chain;

/// The ratio of rest to search time, at first and later.
const REST: u32 = 2;
const LATER_REST: u32 = 9;
/// How long searches are frequent. A reboot takes no longer.
const EAGER: Duration = Duration::from_secs(300);

/// When the next search for one node's kernel is due.
#[derive(Debug, Default)]
pub(super) struct SearchBackoff {
    first: Option<Instant>,
    next: Option<Instant>,
}

impl SearchBackoff {
    /// Whether enough time has passed since the last search.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// Records that a search took `time` and ends `now`.
    pub(super) fn took(&mut self, time: Duration, now: Instant) {
        let searched = now.saturating_duration_since(*self.first.get_or_insert(now));
        self.next = now.checked_add(time * rest(searched));
    }

    /// Records that the kernel was found, or that another one is searched for. Frequent searches
    /// begin again, but the next one is not due any sooner, because the node controls how often
    /// this happens.
    pub(super) fn ended(&mut self) {
        self.first = None;
    }
}

/// The searches of one sweep. Nodes that share memory share its search.
#[derive(Debug, Default)]
pub(super) struct Searched(Vec<Search>);

#[derive(Debug)]
struct Search {
    memory: RangeSet,
    found: Result<Vec<Candidate>, String>,
    took: Duration,
}

impl Searched {
    /// The findings in some memory, or why it could not be searched, and how long the search took.
    /// Each memory is searched once.
    pub(super) fn once(
        &mut self,
        memory: &RangeSet,
        search: impl FnOnce() -> Result<Vec<Candidate>, ReadError>,
    ) -> (Result<&[Candidate], &str>, Duration) {
        let known = self.0.iter().position(|search| search.memory == *memory);
        let at = known.unwrap_or_else(|| {
            let begun = Instant::now();
            let found = search().map_err(|error| chain(&error));
            self.0.push(Search { memory: memory.clone(), found, took: begun.elapsed() });
            self.0.len() - 1
        });
        let Search { found, took, .. } = &self.0[at];
        (found.as_deref().map_err(String::as_str), *took)
    }
}

/// The ratio of rest to search time after searches for a time of `searched`.
fn rest(searched: Duration) -> u32 {
    if searched < EAGER { REST } else { LATER_REST }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::WatchedNodes;
    use super::*;
    use crate::node::{Found, Images, Node, Nodes, Target};
    use watchdog_core::locate::{Finding, Lost};
    use watchdog_core::memory::{Memory, PhysAddr, PhysRange};
    use watchdog_core::verify::BaselineStore;

    /// Check that the first search is due at once, and that a long rest follows a long search.
    #[test]
    fn a_third_of_the_time() {
        let (mut backoff, now, time) =
            (SearchBackoff::default(), Instant::now(), Duration::from_secs(60));
        assert!(backoff.is_due(now));
        backoff.took(time, now);
        assert!(!backoff.is_due(now + time) && backoff.is_due(now + time * REST));
    }

    /// Check that a kernel whose clocks sometimes stand still causes no more searches than one that
    /// is gone. Check that searches for another kernel are frequent again.
    #[test]
    fn signs_of_life_save_no_rest() {
        let (mut backoff, now, time) =
            (SearchBackoff::default(), Instant::now(), Duration::from_secs(60));
        backoff.took(time, now);
        backoff.took(time, now + EAGER);
        assert!(!backoff.is_due(now + EAGER + time * REST));
        backoff.ended();
        assert!(!backoff.is_due(now + EAGER + time * REST), "no sooner than it was");
        backoff.took(time, now + EAGER * 2);
        assert!(backoff.is_due(now + EAGER * 2 + time * REST));
    }

    /// Check that nodes with the same memory share a search and its time, and that other nodes do
    /// not.
    #[test]
    fn one_search_for_each_memory() {
        let memory = |range: &str| range.parse().into_iter().collect::<RangeSet>();
        let (mut searched, mut searches) = (Searched::default(), 0);
        let mut times = Vec::new();
        for range in ["0..9", "0..9", "9..10", "0..9"] {
            let (found, took) = searched.once(&memory(range), || {
                searches += 1;
                std::thread::sleep(Duration::from_millis(2));
                Ok(Vec::new())
            });
            assert!(found.is_ok_and(<[_]>::is_empty));
            times.push(took);
        }
        assert_eq!(searches, 2);
        assert!(times[0] > Duration::ZERO && times[0] == times[1] && times[0] == times[3]);
    }

    /// Memory without a kernel. It counts the bytes read.
    struct Empty(RangeSet, AtomicU64);

    impl Memory for Empty {
        fn ranges(&self) -> &RangeSet {
            &self.0
        }

        fn read(&self, _: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
            buffer.fill(0);
            self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            Ok(())
        }
    }

    /// Check that a sweep over many nodes without a kernel searches their memory once.
    #[test]
    fn missing_nodes_are_searched_for_together() {
        let within: RangeSet = PhysRange::with_size(PhysAddr(0), 4 << 20).into_iter().collect();
        let memory = Arc::new(Empty(within.clone(), AtomicU64::new(0)));
        let plan = Nodes::Discovered { prefix: "service", within: within.clone() };
        let found = |n| {
            let node = Node { name: plan.name_of_next(n), memory: within.clone() };
            let finding = Finding::Lost(Lost::because("made up".to_owned()));
            Found { node, finding, strays: Vec::new() }
        };
        let target = Target {
            memory: memory.clone(),
            nodes: plan.clone(),
            images: Images::default(),
            guarded: None,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let store = BaselineStore::in_state_dir(folder.path(), None);
        let found = (0..16).map(found).collect();
        let mut nodes = WatchedNodes::take_up(&target, store, Duration::ZERO, found, &mut |_| ())
            .expect("taken up");
        nodes.sweep(&*memory, &mut |_| ()).expect("swept");
        let read = memory.1.load(Ordering::Relaxed);
        assert!((within.size()..2 * within.size()).contains(&read), "{read} bytes");
    }

    /// Check that the rest is longer after a long time of searches.
    #[test]
    fn a_tenth_later() {
        assert_eq!([Duration::ZERO, EAGER].map(rest), [REST, LATER_REST]);
    }
}
