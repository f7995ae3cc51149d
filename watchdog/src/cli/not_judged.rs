//! What a baseline, or a sweep, does not judge: for programs and for people.

use std::io::{self, Write};

use super::report::row;
use watchdog_core::text::printable;
use watchdog_core::verify::NotJudged;

/// Longest name of a mechanism or table, and longest reason, that is shown.
const SHOWN: [usize; 2] = [128, 512];

/// The list, fit to print: the names of patch tables come from an image or from a node.
pub(super) fn fit_to_print(list: &[NotJudged]) -> Vec<NotJudged> {
    let [name, reason] = SHOWN;
    list.iter()
        .map(|it| NotJudged {
            mechanism: printable(it.mechanism.as_bytes(), name),
            sites: it.sites,
            why: printable(it.why.as_bytes(), reason),
        })
        .collect()
}

/// Prints one row for each entry.
pub(super) fn print(out: &mut dyn Write, list: &[NotJudged]) -> io::Result<()> {
    list.iter().try_for_each(|it| row(out, "NOT judged", &it.to_string()))
}
