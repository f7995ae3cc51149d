//! Why a sweep ended with its verdict, for the log.
//!
//! A sweep is logged where it ends otherwise than the one before: the log of a watch does not grow
//! while nothing changes. Of what a node decides the number of, the first are logged.

use std::time::Instant;

use log::Level;

use super::judge::Opinion;
use super::reference::ImageSymbols;
use super::{Difference, Verdict};
use crate::locate::Kernel;
use crate::text::printable;

/// Places, and causes, that are logged one by one.
const LOGGED: usize = 32;
/// Longest name that is logged.
const MAX_NAME: usize = 128;

/// What a sweep ended with, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) pages_differing: usize,
    pub(super) causes: usize,
    pub(super) wrong: usize,
    pub(super) wrong_rodata: usize,
    pub(super) pending: usize,
}

impl Outcome {
    /// Logs it, with what makes it so.
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

/// Logs what became of places that nothing explained at the first look.
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

/// Logs the first of some differences.
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
