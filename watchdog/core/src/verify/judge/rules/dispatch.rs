//! Selects the rule for a site.

use super::super::site::{Kind, Site};
use super::context::{Rules, SiteState};
use super::{
    alternatives, call_sites, cfi, constants, fentry, ibt_seals, jump_labels, locks, paravirt,
    retpolines, returns, static_calls,
};

/// Reported for a changed site of a table that no rule knows.
const UNKNOWN: &str = "the kernel may change this place, by a patch table that no rule knows";

/// Judges `live`, at image offset `to`, by the rule for `site`. A table that no rule knows may be
/// the cause of a form that this rule does not know.
pub(in super::super) fn judge(
    rules: &mut Rules<'_>,
    site: &Site,
    live: &[u8],
    to: u32,
) -> SiteState {
    match by_rule(rules, site, live, to) {
        SiteState::Unexpected(_) if rules.expected.has_unknown(site) => {
            SiteState::NotJudged(UNKNOWN)
        }
        state => state,
    }
}

fn by_rule(rules: &mut Rules<'_>, site: &Site, live: &[u8], to: u32) -> SiteState {
    match site.kind {
        Kind::Alternative(first, count) => alternatives::judge(rules, first, count, live, to),
        Kind::Paravirt(n) => paravirt::judge(rules, n, site, live, to),
        Kind::SmpLock => locks::judge(rules, live, to),
        Kind::Retpoline(register) => retpolines::judge(rules, register, site, live, to),
        Kind::Return => returns::judge_listed(rules, site, live, to),
        Kind::Call => call_sites::judge(rules, site, live, to),
        Kind::Padding => call_sites::judge_padding(rules, live, to),
        Kind::IbtSeal => ibt_seals::judge(rules, live),
        Kind::CfiPreamble => cfi::judge_preamble(rules, live, to),
        Kind::CfiEntry => cfi::judge_entry(rules, live, to),
        Kind::CfiCaller => cfi::judge_caller(rules, live, to),
        Kind::CfiSeal => cfi::judge_seal(rules, live, to),
        Kind::JumpLabel(n) => jump_labels::judge(rules, n, live, to),
        Kind::StaticCall(n) => static_calls::judge(rules, n, site, live, to),
        Kind::Trampoline(n) => static_calls::judge_trampoline(rules, n, live, to),
        Kind::Fentry => fentry::judge(rules, live, to),
        Kind::FtraceCall => fentry::judge_inner(rules, site, live, to),
        Kind::Constant(n) => constants::judge(rules, n, live),
        Kind::Unknown if rules.expected.linked(to, live.len()) == live => SiteState::Expected,
        Kind::Unknown => SiteState::NotJudged(UNKNOWN),
    }
}
