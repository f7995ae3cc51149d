//! All places that a kernel may rewrite, in one ascending list.

use std::collections::BTreeMap;

use super::branch::{self, CS, JMP, JMP8};
use super::nops::{NOP2, NOP5};
use super::site::{Kind, Site};
use super::thunks::Use;
use super::{Expected, Mechanism, cfi_places, counting_places, old_nops};

/// Logs the number of sites of each mechanism.
pub(super) fn log(sites: &[Site]) {
    if !log::log_enabled!(log::Level::Debug) {
        return;
    }
    let counts: Vec<String> =
        counts(sites).iter().map(|(mechanism, count)| format!("{count} {mechanism}")).collect();
    log::debug!("sites to judge: {}", counts.join(", "));
}

/// The number of sites of each mechanism.
pub(super) fn counts(sites: &[Site]) -> BTreeMap<Mechanism, usize> {
    let mut counts: BTreeMap<Mechanism, usize> = BTreeMap::new();
    for site in sites {
        let count = counts.entry(site.kind.mechanism()).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

/// All sites of a kernel's text and its replacements, ascending. Of several sites at one place, the
/// outermost comes first.
pub(super) fn of(expected: &Expected) -> Vec<Site> {
    let tables = &expected.reference.tables;
    let mut sites = Vec::new();
    let mut add = |at: u32, length: usize, kind: Kind| {
        if let Ok(length @ 1..) = u8::try_from(length) {
            sites.push(Site { at, length, kind, nested: false });
        }
    };
    let mut first = 0_u32;
    for group in tables.alternatives.chunk_by(|one, next| one.at == next.at) {
        let count = u8::try_from(group.len()).unwrap_or(u8::MAX);
        let longest = group.iter().map(|entry| entry.length).max().unwrap_or_default();
        if let Some(entry) = group.first() {
            add(entry.at, longest.into(), Kind::Alternative(first, count));
        }
        first = first.saturating_add(count.into());
    }
    for (n, site) in (0..).zip(&tables.paravirt) {
        add(site.at, site.length.into(), Kind::Paravirt(n));
    }
    tables.smp_locks.iter().for_each(|at| add(*at, 1, Kind::SmpLock));
    for at in &tables.retpolines {
        let found = retpoline_branch(expected.linked(*at, 7), *at);
        let register = found.and_then(|(_, target)| expected.thunks.register(Use::Linked, target));
        if let (Some((length, _)), Some(register)) = (found, register) {
            add(*at, length, Kind::Retpoline(register));
        }
    }
    tables.ibt_seals.iter().for_each(|at| add(*at, 4, Kind::IbtSeal));
    for (at, length, kind) in cfi_places::sites(expected) {
        add(at, length, kind);
    }
    for (n, label) in (0..).zip(&tables.jump_labels) {
        add(label.at, label_length(expected.linked(label.at, 5)), Kind::JumpLabel(n));
    }
    for (n, call) in (0..).zip(&tables.static_calls) {
        let conditional = matches!(expected.linked(call.at, 2), [0x0f, 0x80..=0x8f]);
        add(call.at, if conditional { 6 } else { 5 }, Kind::StaticCall(n));
    }
    for (n, trampoline) in (0..).zip(&tables.trampolines) {
        add(trampoline.at, 5, Kind::Trampoline(n));
    }
    for at in &tables.returns {
        add(*at, if expected.linked(*at, 1) == [CS] { 6 } else { 5 }, Kind::Return);
    }
    tables.fentry.iter().for_each(|at| add(*at, 5, Kind::Fentry));
    for name in ["ftrace_call", "ftrace_regs_call"] {
        if let Some(at) = expected.reference.symbols.address(name) {
            add(at, 5, Kind::FtraceCall);
        }
    }
    for (n, constant) in (0..).zip(&tables.runtime_constants) {
        let length = constant.kind.bytes();
        constant.sites.iter().for_each(|at| add(*at, length, Kind::Constant(n)));
    }
    tables.calls.iter().for_each(|at| add(*at, 5, Kind::Call));
    if let Some(counting) = &expected.counting {
        let padding = counting_places::padding(expected);
        padding.for_each(|at| add(at, counting.length(), Kind::Padding));
    }
    let unknown = tables.unknown.iter().flat_map(|table| &table.sites);
    unknown.for_each(|(at, length)| add(*at, (*length).into(), Kind::Unknown));
    // The sort is stable. At one place, the site that was added first comes first.
    sites.sort_by_key(|site| site.at);
    mark_nested(&mut sites);
    sites
}

/// Marks the sites inside an alternative, and the call sites that another site covers.
/// `.call_sites` also lists the calls to `__fentry__` and the static calls, which have rules of
/// their own.
fn mark_nested(sites: &mut [Site]) {
    let mut outer_end = 0_u32;
    let mut last_end = 0_u32;
    for site in sites {
        let end = site.at.saturating_add(site.length.into());
        site.nested = site.at < outer_end || (site.kind == Kind::Call && site.at < last_end);
        if matches!(site.kind, Kind::Alternative(..)) {
            outer_end = outer_end.max(end);
        }
        last_end = last_end.max(end);
    }
}

/// Length and target of a branch to a thunk, with or without a `cs` prefix.
pub(super) fn retpoline_branch(code: &[u8], at: u32) -> Option<(usize, u32)> {
    let prefixed = code.strip_prefix(&[CS]);
    let (code, from) = match prefixed {
        Some(code) => (code, at.checked_add(1)?),
        None => (code, at),
    };
    let branch = branch::decode(code, from)?;
    let length = branch.length.checked_add(usize::from(prefixed.is_some()))?;
    Some((length, u32::try_from(branch.target).ok()?))
}

/// The length of a jump label, which the assembler chose: 2 or 5 bytes (`arch_jump_entry_size()`).
/// It is 0 for code that is neither a NOP nor a jump.
fn label_length(code: &[u8]) -> usize {
    match code {
        [JMP8, ..] => 2,
        [JMP, ..] => 5,
        _ if code.starts_with(NOP2) => 2,
        _ if code.starts_with(NOP5) || code.starts_with(old_nops::NOP5) => 5,
        _ => 0,
    }
}
