//! Log lines that explain the verdict of a sweep.
//!
//! A sweep is logged if its outcome differs from the last one, so the log does not grow while
//! nothing changes. The node decides how many places and causes there are. Only the first of them
//! are logged.

use std::time::Instant;

use log::Level;

use super::judge::Opinion;
use super::reference::ImageSymbols;
use super::{Difference, Verdict};
use crate::locate::Kernel;
use crate::text::printable;

/// Places, and causes, that are logged one by one.
const LOGGED: usize = 32;
/// Longest name in a log line.
const MAX_NAME: usize = 128;

/// The outcome of a sweep, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) pages_differing: usize,
    pub(super) causes: usize,
    pub(super) wrong: usize,
    pub(super) wrong_rodata: usize,
    pub(super) pending: usize,
    pub(super) not_judged: usize,
}

impl Outcome {
    /// Logs the outcome, with the causes and places behind it.
    pub(super) fn log(&self, kernel: &Kernel, opinion: &Opinion, symbols: &ImageSymbols) {
        if !log::log_enabled!(Level::Debug) {
            return;
        }
        let text = kernel.text.phys;
        log::debug!(
            "text at {text}: {}: {} pages differ from the baseline; unexplained: \
             {} places of the text, {} of read-only data; left open: {}",
            self.verdict,
            self.pages_differing,
            self.wrong,
            self.wrong_rodata,
            self.pending
        );
        let sites = opinion.patched.iter();
        let sites: Vec<String> = sites.map(|(rule, count)| format!("{count} {rule}")).collect();
        log::debug!("text at {text}: sites that tables explain: {}", sites.join(", "));
        for ((mechanism, why), count) in &opinion.not_judged {
            log::debug!("text at {text}: {count} {mechanism} sites are not judged: {why}");
        }
        for (cause, count) in opinion.causes.iter().take(LOGGED) {
            let (mechanism, name) = (cause.mechanism, &cause.name);
            log::debug!("text at {text}: {count} places are changed by {mechanism}: {name}");
        }
        for wrong in opinion.wrong.iter().take(LOGGED) {
            let name = symbols.lookup(wrong.at).map_or_else(String::new, |(name, offset)| {
                format!(" ({}+{offset:#x})", printable(name.as_bytes(), MAX_NAME))
            });
            let rule = wrong.mechanism.map_or("no rule", |mechanism| mechanism.name());
            let place = text.0.wrapping_add(wrong.at.into());
            let (length, why) = (wrong.length, wrong.why);
            log::debug!("unexplained: {length} bytes at {place:#x}{name}, {rule}: {why}");
        }
        log_rest("causes", opinion.causes.len());
        log_rest("unexplained places", opinion.wrong.len());
    }
}

/// Logs the outcome for places that were unexplained at first.
pub(super) fn log_suspects(
    [suspects, stay, left_open]: [usize; 3],
    looks: u32,
    begun: Instant,
    patching: bool,
) {
    log::debug!(
        "{suspects} suspects, looked at {looks} times in {} ms while the kernel {}: \
         {stay} stay, {left_open} are left open",
        begun.elapsed().as_millis(),
        if patching { "patches itself" } else { "holds no mutex of patching" }
    );
}

/// Logs the first of these differences.
pub(super) fn log_differences(differences: impl Iterator<Item = Difference>) {
    if !log::log_enabled!(Level::Debug) {
        return;
    }
    for difference in differences.take(LOGGED) {
        let name = difference.symbol.unwrap_or_default();
        log::debug!("unexplained: {} ({name}): {}", difference.phys, difference.note);
    }
}

fn log_rest(what: &str, count: usize) {
    if let Some(rest @ 1..) = count.checked_sub(LOGGED) {
        log::debug!("{what}: {rest} more");
    }
}
