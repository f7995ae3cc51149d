//! Logs what becomes of each candidate of a witness, and of each kernel text.
//!
//! Memory decides how many candidates there are. At debug level, a search therefore logs the first
//! of each kind and counts the rest. Trace level logs all of them.

use std::cmp::Reverse;

use log::Level;

use super::Finding;
use crate::memory::PhysAddr;

/// Most candidates of one kind that a search logs at debug level.
pub(super) const LOGGED: usize = 32;

/// Most witnesses of one text that are logged.
const LOGGED_WITNESSES: usize = 8;

/// The reason if [`Budget::spend`](super::Budget) refuses.
pub(super) const SPENT: &str = "the budget for following signs is spent";

/// The level for the line about candidate `n`, counted from 0.
pub(super) const fn level(n: usize) -> Level {
    if n < LOGGED { Level::Debug } else { Level::Trace }
}

/// Logs how many candidates are not logged at debug level.
pub(super) fn log_rest(kind: &str, count: usize) {
    if let Some(rest @ 1..) = count.checked_sub(LOGGED) {
        log::debug!("{kind}: {rest} more, logged at trace level");
    }
}

/// The claims among the candidates of one witness. A candidate is the address of its sign, with its
/// claim or the check that failed. `text` returns the address of the kernel text in a claim, if the
/// claim has one.
pub(super) fn claims_of<T>(
    witness: &str,
    candidates: impl Iterator<Item = (PhysAddr, Result<T, &'static str>)>,
    text: impl Fn(&T) -> Option<PhysAddr>,
) -> Vec<T> {
    let mut claims = Vec::new();
    let mut count = 0_usize;
    for (at, claim) in candidates {
        let level = level(count);
        count = count.saturating_add(1);
        match claim {
            Ok(claim) => {
                let place = text(&claim).map_or_else(String::new, |text| format!(" at {text}"));
                log::log!(level, "{witness}: the sign at {at} leads to a kernel text{place}");
                claims.push(claim);
            }
            Err(check) => log::log!(level, "{witness}: rejected {at}: {check}"),
        }
    }
    log_rest(witness, count);
    claims
}

/// Logs what was compared for each kernel text, and the decision. The texts with the most witnesses
/// come first, so that decoys cannot hide them.
pub(super) fn log_findings(findings: &[Finding]) {
    if !log::log_enabled!(Level::Debug) {
        return;
    }
    let mut by_witnesses: Vec<&Finding> = findings.iter().collect();
    by_witnesses.sort_by_key(|finding| Reverse(finding.witnesses().len()));
    by_witnesses.iter().enumerate().for_each(|(n, finding)| log_finding(level(n), finding));
    log_rest("kernel texts", findings.len());
}

fn log_finding(level: Level, finding: &Finding) {
    let Some(text) = finding.text_address() else {
        return log::log!(level, "text without a place: {}", finding.reason());
    };
    for witness in finding.witnesses().iter().take(LOGGED_WITNESSES) {
        log::log!(level, "text at {text}: {} says: {}", witness.name, witness.says);
    }
    if let Some(more @ 1..) = finding.witnesses().len().checked_sub(LOGGED_WITNESSES) {
        log::log!(level, "text at {text}: {more} more witnesses");
    }
    match finding {
        Finding::Located(kernel) => log::log!(
            level,
            "text at {text}: located; all witnesses agree on its place and on its {} bytes",
            kernel.text.size
        ),
        Finding::Booting(lost) | Finding::Lost(lost) => {
            log::log!(level, "text at {text}: {}: {}", finding.state(), lost.reason);
        }
    }
}
