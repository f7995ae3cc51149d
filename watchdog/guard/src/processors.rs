//! Sets of processors, in the kernel's list format.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use watchdog_common::PROCESSOR_WORDS;

/// Processors by their numbers, as in `0-3,7` (Documentation/admin-guide/cputopology.rst, 6.12).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Processors(BTreeSet<u32>);

impl Processors {
    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// Whether a processor is one of them.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        self.0.contains(&number)
    }

    /// The processors of both sets.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        Self(self.0.union(&others.0).copied().collect())
    }

    /// One bit per processor, as the guard's programs hold them.
    pub(super) fn words(&self) -> [u64; PROCESSOR_WORDS] {
        let mut words = [0; PROCESSOR_WORDS];
        for number in self.iter() {
            if let Some(word) = words.get_mut(number as usize / 64) {
                *word |= 1 << (number % 64);
            }
        }
        words
    }
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for number in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => runs.push((number, number)),
            }
        }
        for (n, (first, last)) in runs.into_iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let run = if first == last { format!("{first}") } else { format!("{first}-{last}") };
            write!(f, "{comma}{run}")?;
        }
        Ok(())
    }
}

impl From<Processors> for String {
    fn from(processors: Processors) -> Self {
        processors.to_string()
    }
}

impl FromStr for Processors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const MOST: u32 = PROCESSOR_WORDS as u32 * 64;
        let wrong = || {
            format!(
                "invalid list of processors `{text}`: write numbers below {MOST}, as in 2 or 4-7,12"
            )
        };
        let mut all = BTreeSet::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u32>().ok().filter(|it| *it < MOST);
            let (first, last) = number(first).zip(number(last)).ok_or_else(wrong)?;
            if first > last {
                return Err(wrong());
            }
            all.extend(first..=last);
        }
        Ok(Self(all))
    }
}

impl TryFrom<String> for Processors {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that lists in the kernel's format are read and printed, and that other texts are
    /// refused.
    #[test]
    fn lists() {
        let read = |text: &str| text.parse::<Processors>().map(|it| it.iter().collect::<Vec<_>>());
        assert_eq!(read("0-2,5"), Ok(vec![0, 1, 2, 5]));
        assert_eq!(read(""), Ok(vec![]));
        for text in ["0-2,5", "", "7", "0,2,4-8191"] {
            assert_eq!(text.parse::<Processors>().unwrap().to_string(), text);
        }
        assert_eq!("1,64-65".parse::<Processors>().unwrap().words()[..2], [2, 3]);
        for wrong in ["a", "3-1", "8192", "0-99999999", "-1", "1-"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
