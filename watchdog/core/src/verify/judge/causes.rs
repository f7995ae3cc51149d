//! What changed a text, and where. The node decides how many causes there are, so their list is
//! bounded.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::tracing::Cause;
use super::{Mechanism, Opinion};

/// Causes that are listed by name. A tracer of all functions is one cause; each probe is another.
const MAX_CAUSES: usize = 256;

/// A place in the text: image offset and bytes.
type Place = (u32, u32);

/// Causes with their places. Those beyond [`MAX_CAUSES`] are one cause for each mechanism.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// The number of each cause that is listed.
    numbers: BTreeMap<Cause, usize>,
    /// The places of those, by number.
    places: Vec<Vec<Place>>,
    others: BTreeMap<Mechanism, Others>,
    /// Hashes `others`, with keys that the node cannot know.
    hasher: RandomState,
}

/// Causes that are only counted.
#[derive(Debug, Default)]
struct Others {
    hashes: HashSet<u64>,
    places: Vec<Place>,
}

/// Which cause.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Listed(usize),
    Other(Mechanism),
}

impl Causes {
    /// Takes in a cause, which may have been seen before.
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

    /// Adds a place to a cause that was taken in.
    pub(super) fn add(&mut self, which: Which, place: Place) {
        let places = match which {
            Which::Listed(number) => self.places.get_mut(number),
            Which::Other(mechanism) => {
                self.others.get_mut(&mechanism).map(|others| &mut others.places)
            }
        };
        places.into_iter().for_each(|places| places.push(place));
    }

    /// Writes them into an opinion: first those that are listed, by name; then the number of
    /// others.
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

    /// Check that causes are listed in the order of their names, each with its places. Beyond the
    /// bound the rest is one cause for each mechanism, with every place.
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
