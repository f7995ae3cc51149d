//! Sets of processors, as the kernel lists them.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::Deserialize;
use watchdog_common::PROCESSOR_WORDS;

/// Processors by their numbers, as in `0-3,7` (Documentation/admin-guide/cputopology.rst, 6.12).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Processors(BTreeSet<u32>);

impl Processors {
    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

impl FromStr for Processors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const MOST: u32 = PROCESSOR_WORDS as u32 * 64;
        let wrong = || {
            format!(
                "`{text}` is no list of processors: write numbers below {MOST}, as in 2 or 4-7,12"
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

    /// Check that lists are read as the kernel writes them, and that what is none is refused.
    #[test]
    fn lists() {
        let read = |text: &str| text.parse::<Processors>().map(|it| it.iter().collect::<Vec<_>>());
        assert_eq!(read("0-2,5"), Ok(vec![0, 1, 2, 5]));
        assert_eq!(read(""), Ok(vec![]));
        for wrong in ["a", "3-1", "8192", "0-99999999", "-1", "1-"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
