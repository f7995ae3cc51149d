//! What a baseline, or a sweep, does not judge: for programs and for people.

use std::io::{self, Write};

use serde::Serialize;

use super::report::row;
use watchdog_core::text::printable;
use watchdog_core::verify::NotJudged;

/// Longest name of a mechanism or table, and longest reason, that is shown.
const SHOWN: [usize; 2] = [128, 512];

/// One entry of the list, fit to print: the names of patch tables come from an image or from a
/// node.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    mechanism: String,
    /// Number of sites, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    sites: Option<u32>,
    why: String,
    /// The same for people.
    #[serde(skip)]
    sentence: String,
}

impl Entry {
    fn of(it: &NotJudged) -> Self {
        let [name, reason] = SHOWN;
        let it = NotJudged {
            mechanism: printable(it.mechanism.as_bytes(), name),
            sites: it.sites,
            why: printable(it.why.as_bytes(), reason),
        };
        let sentence = it.to_string();
        let NotJudged { mechanism, sites, why } = it;
        Self { mechanism, sites: (sites > 0).then_some(sites), why, sentence }
    }
}

/// The list, fit to print.
pub(super) fn fit_to_print(list: &[NotJudged]) -> Vec<Entry> {
    list.iter().map(Entry::of).collect()
}

/// Prints one row for each entry.
pub(super) fn print(out: &mut dyn Write, list: &[Entry]) -> io::Result<()> {
    list.iter().try_for_each(|it| row(out, "NOT judged", &it.sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a number of sites is shown only if it is known, to programs and to people, and
    /// that names are made printable.
    #[test]
    fn unknown_numbers_are_absent() {
        let entry = |mechanism: &str, sites| {
            let (mechanism, why) = (mechanism.to_owned(), "no list".to_owned());
            Entry::of(&NotJudged { mechanism, sites, why })
        };
        let shown = |entry: &Entry| serde_json::to_string(entry).unwrap();
        let unknown = entry("bpf", 0);
        assert_eq!(shown(&unknown), r#"{"mechanism":"bpf","why":"no list"}"#);
        assert_eq!(unknown.sentence, "bpf: no list");
        let known = entry("a\u{1b}b", 2);
        assert_eq!(known.sites, Some(2));
        assert!(shown(&known).contains(r#""sites":2"#) && !known.sentence.contains('\u{1b}'));
    }
}
