//! Causes of changes to a text, and the changed places. The node decides how many causes there are,
//! so their list is bounded.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::tracing::Cause;
use super::{Mechanism, Opinion};

/// Causes that are listed by name. A tracer of all functions is one cause; each probe is another.
const MAX_CAUSES: usize = 256;

/// A place in the text: image offset and bytes.
type Place = (u32, u32);

/// Causes with their places. Beyond [`MAX_CAUSES`], all causes of one mechanism become one.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// The number of each listed cause.
    numbers: BTreeMap<Cause, usize>,
    /// The places of the listed causes, by number.
    places: Vec<Vec<Place>>,
    others: BTreeMap<Mechanism, Others>,
    /// Hashes the causes in `others`, with keys that the node cannot know.
    hasher: RandomState,
}

/// Causes that are only counted.
#[derive(Debug, Default)]
struct Others {
    hashes: HashSet<u64>,
    places: Vec<Place>,
}

/// A listed cause, or one of a mechanism's others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Listed(usize),
    Other(Mechanism),
}

impl Causes {
    /// Records a cause, which may already be known.
    pub(super) fn take_in(&mut self, cause: Cause) -> Which {
        if let Some(number) = self.numbers.get(&cause) {
            return Which::Listed(*number);
        }
        let number = self.places.len();
        if number < MAX_CAUSES {
            self.numbers.insert(cause, number);
            self.places.push(Vec::new());
            return Which::Listed(number);
        }
        let hash = self.hasher.hash_one(&cause);
        self.others.entry(cause.mechanism).or_default().hashes.insert(hash);
        Which::Other(cause.mechanism)
    }

    /// Adds a place to a recorded cause.
    pub(super) fn add(&mut self, which: Which, place: Place) {
        let places = match which {
            Which::Listed(number) => self.places.get_mut(number),
            Which::Other(mechanism) => {
                self.others.get_mut(&mechanism).map(|others| &mut others.places)
            }
        };
        places.into_iter().for_each(|places| places.push(place));
    }

    /// Writes the causes into an opinion: first the listed ones, sorted, and then the number of
    /// others for each mechanism.
    pub(super) fn report_to(mut self, opinion: &mut Opinion) {
        let listed = self.numbers.into_iter().map(|(cause, number)| {
            (cause, self.places.get_mut(number).map(std::mem::take).unwrap_or_default())
        });
        let others = self.others.into_iter().map(|(mechanism, others)| {
            let name = format!("and {} more", others.hashes.len());
            (Cause { mechanism, name }, others.places)
        });
        for (n, (cause, places)) in listed.chain(others).enumerate() {
            let count = u32::try_from(places.len()).unwrap_or(u32::MAX);
            opinion.causes.push((cause, count));
            opinion.instrumented.extend(places.into_iter().map(|(at, length)| (at, length, n)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that causes are sorted by name, each with its places. Beyond the bound, the others of
    /// a mechanism become one cause with all their places.
    #[test]
    fn more_than_are_listed() {
        let cause = |n: u32, mechanism| Cause::new(mechanism, format!("cause {n:04}"));
        let report = |count: u32| {
            let mut causes = Causes::default();
            for n in (0..count).rev().chain(0..count) {
                let which = causes.take_in(cause(n, Mechanism::Kprobe));
                causes.add(which, (n, 1));
            }
            let mut opinion = Opinion::default();
            causes.report_to(&mut opinion);
            opinion
        };
        let few = report(3);
        let names: Vec<_> =
            few.causes.iter().map(|(cause, count)| (&*cause.name, *count)).collect();
        assert_eq!(names, [("cause 0000", 2), ("cause 0001", 2), ("cause 0002", 2)]);
        assert_eq!(few.instrumented[..3], [(0, 1, 0), (0, 1, 0), (1, 1, 1)]);
        let many = report(MAX_CAUSES as u32 + 44);
        assert_eq!(many.causes.len(), MAX_CAUSES + 1);
        let (last, count) = many.causes.last().unwrap();
        assert_eq!((last.name.as_str(), *count), ("and 44 more", 88));
        assert_eq!(many.instrumented.len(), 2 * (MAX_CAUSES + 44));
        assert!(many.instrumented.iter().all(|(.., cause)| *cause < many.causes.len()));
    }
}
