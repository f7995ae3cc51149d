//! The report of a scan about one node, for programs and for people.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::allowed::Allowed;
use super::kernel::{print_kernel, print_strays};
use super::not_judged;
use super::report::row;
use super::undescribed;
use crate::config::AllowedCause;
use crate::node::Found;
use watchdog_core::digest::Digest;
use watchdog_core::locate::{Finding, Kernel, Report};
use watchdog_core::memory::{PhysAddr, VirtAddr};
use watchdog_core::text::{hex, printable};
use watchdog_core::verify::judge::Mechanism;
use watchdog_core::verify::{
    BaselineKind, Difference, Judgement, RodataOpinion, Sweep, TextCopy, Verdict, Verifier,
};

/// Differences listed in JSON.
pub(super) const LISTED: usize = 10_000;

/// Unexplained differences that are shown without `--verbose`.
const SHOWN: usize = 20;
/// Longest symbol that is shown.
const SYMBOL_SHOWN: usize = 128;

/// The report about one node, as `scan --json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct NodeReport<'a> {
    node: &'a str,
    pub(super) verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    kernel: Report,
    /// Whether its clocks advance. This is unknown for memory in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alive: Option<bool>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    text: Option<TextReport>,
    elapsed_us: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct TextReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<BaselineKind>,
    sha256: Digest,
    pages: usize,
    pages_differing: usize,
    /// Places that closed tables explain, by mechanism.
    sites: BTreeMap<Mechanism, u32>,
    /// Read-only data, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    rodata: Option<RodataOpinion>,
    /// What cannot be judged, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_judged: Vec<not_judged::Entry>,
    /// Structures whose layout is the one that fits the kernel's lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    undescribed: Vec<&'static str>,
    /// Other causes of changes to the text.
    causes: Vec<CauseReport>,
    differences_total: usize,
    differences: Vec<DifferenceReport>,
}

#[derive(Debug, Serialize)]
struct CauseReport {
    mechanism: Mechanism,
    name: String,
    places: u32,
    /// Whether it does not count for the exit status.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allowed: bool,
}

#[derive(Debug, Serialize)]
struct DifferenceReport {
    phys: PhysAddr,
    virt: VirtAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<String>,
    length: usize,
    judgement: Judgement,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<Mechanism>,
    note: String,
    expected: String,
    found: String,
    expected_asm: String,
    found_asm: String,
}

impl<'a> NodeReport<'a> {
    pub(super) fn new(
        node: &'a str,
        verdict: Verdict,
        reason: Option<String>,
        kernel: Report,
        text: Option<TextReport>,
        begun: Instant,
    ) -> Self {
        let elapsed_us = micros(begun.elapsed());
        Self { node, verdict, reason, kernel, alive: None, text, elapsed_us }
    }

    /// Whether a part of the text is not judged.
    pub(super) fn is_incomplete(&self) -> bool {
        self.text.as_ref().is_some_and(|text| !text.not_judged.is_empty())
    }

    /// Marks the causes that the command line or the node's configuration allows. Returns whether
    /// all of them are allowed.
    pub(super) fn allow(&mut self, by_command: &[Allowed], by_node: &[AllowedCause]) -> bool {
        let Some(text) = &mut self.text else { return false };
        for CauseReport { mechanism, name, allowed, .. } in &mut text.causes {
            *allowed = by_node.iter().any(|it| it.is(*mechanism, name))
                || by_command.iter().any(|it| match it {
                    Allowed::Instrumented => true,
                    Allowed::Cause(cause) => cause.is(*mechanism, name),
                });
        }
        text.causes.iter().all(|cause| cause.allowed)
    }
}

impl TextReport {
    /// The report about a text without a baseline.
    pub(super) fn unjudged(copy: &TextCopy) -> Self {
        Self {
            baseline: None,
            sha256: Digest::of(copy.bytes()),
            pages: copy.pages().len(),
            pages_differing: 0,
            sites: BTreeMap::new(),
            rodata: None,
            not_judged: Vec::new(),
            undescribed: Vec::new(),
            causes: Vec::new(),
            differences_total: 0,
            differences: Vec::new(),
        }
    }

    /// The report about a text that was judged. With `all`, it also lists the differences that
    /// closed tables explain, and those that cannot be judged.
    pub(super) fn judged(swept: Sweep, verifier: &Verifier, kernel: &Kernel, all: bool) -> Self {
        let instrumented: u32 = swept.causes.iter().map(|(_, places)| places).sum();
        let patched: u32 = swept.sites.values().sum();
        let listed = swept.unexplained.into_iter().chain(verifier.instrumented(kernel));
        let mut differences: Vec<_> = listed.take(LISTED).map(DifferenceReport::from).collect();
        if all {
            let others = verifier.not_judged(kernel).chain(verifier.patched(kernel));
            let others = others.take(LISTED.saturating_sub(differences.len()));
            differences.extend(others.map(DifferenceReport::from));
        }
        Self {
            baseline: Some(swept.baseline),
            sha256: swept.sha256,
            pages: swept.pages,
            pages_differing: swept.pages_differing,
            sites: swept.sites,
            rodata: Some(swept.rodata),
            not_judged: not_judged::fit_to_print(&swept.not_judged),
            undescribed: swept.undescribed,
            causes: swept
                .causes
                .into_iter()
                .map(|(cause, places)| CauseReport {
                    mechanism: cause.mechanism,
                    name: cause.name,
                    places,
                    allowed: false,
                })
                .collect(),
            differences_total: swept.unexplained_total
                + instrumented as usize
                + if all { patched as usize + verifier.not_judged(kernel).count() } else { 0 },
            differences,
        }
    }
}

impl From<Difference> for DifferenceReport {
    fn from(difference: Difference) -> Self {
        Self {
            phys: difference.phys,
            virt: difference.virt,
            symbol: difference.symbol.map(|name| printable(name.as_bytes(), SYMBOL_SHOWN)),
            length: difference.found.len(),
            judgement: difference.judgement,
            mechanism: difference.mechanism,
            note: difference.note,
            expected: hex(&difference.expected),
            found: hex(&difference.found),
            expected_asm: difference.expected_asm,
            found_asm: difference.found_asm,
        }
    }
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// Prints a node's report for people.
pub(super) fn print(
    out: &mut dyn Write,
    found: &Found,
    report: &NodeReport<'_>,
    all: bool,
) -> io::Result<()> {
    writeln!(out, "{}  {}", report.node, report.verdict)?;
    if let Finding::Located(kernel) = &found.finding {
        print_kernel(out, kernel)?;
    }
    if let Some(reason) = &report.reason {
        row(out, "reason", reason)?;
    }
    if report.alive == Some(false) {
        row(
            out,
            "NOT ALIVE",
            "its clocks do not advance: its processors may have been stopped or taken over. \
             Memory was judged as it is",
        )?;
    }
    print_strays(out, &found.strays)?;
    let Some(text) = &report.text else { return Ok(()) };
    row(out, "sha256", &text.sha256.to_string())?;
    match text.baseline {
        Some(BaselineKind::Image) => row(out, "baseline", "the vendor's image")?,
        Some(BaselineKind::Learned) => row(
            out,
            "baseline",
            "learned (trusted on first use): only static keys, static calls and tracers are \
             explained",
        )?,
        None => row(
            out,
            "baseline",
            "none for this kernel: give its image (--image), or let `watchdog run` learn one",
        )?,
    }
    row(out, "pages", &format!("{} in all, {} differ", text.pages, text.pages_differing))?;
    if !text.sites.is_empty() {
        let sites = text.sites.iter().map(|(mechanism, count)| format!("{mechanism} {count}"));
        row(out, "patched sites", &sites.collect::<Vec<_>>().join(", "))?;
    }
    if let Some(rodata) = &text.rodata {
        let RodataOpinion { size, equal, sorted, functions, unjudged, gates } = rodata;
        row(
            out,
            "read-only data",
            &format!(
                "{size} bytes: {equal} as expected, {sorted} in sorted tables, {functions} \
                 pointers to functions, {unjudged} NOT judged"
            ),
        )?;
        row(out, "IDT gates", &format!("{gates} correct"))?;
    }
    not_judged::print(out, &text.not_judged)?;
    undescribed::print(out, &text.undescribed)?;
    for cause in &text.causes {
        let CauseReport { mechanism, name, places, allowed } = cause;
        let plural = if *places == 1 { "" } else { "s" };
        let allowed = if *allowed { ", allowed" } else { "" };
        row(
            out,
            "instrumented",
            &format!("{mechanism}: {name} ({places} place{plural}{allowed})"),
        )?;
    }
    let shown =
        |difference: &&DifferenceReport| all || difference.judgement == Judgement::Unexplained;
    let limit = if all { LISTED } else { SHOWN };
    let shown: Vec<_> = text.differences.iter().filter(shown).take(limit).collect();
    shown.iter().try_for_each(|difference| print_difference(out, difference))?;
    let unexplained =
        |difference: &&&DifferenceReport| difference.judgement == Judgement::Unexplained;
    let instrumented: u32 = text.causes.iter().map(|cause| cause.places).sum();
    let total = if all {
        text.differences_total
    } else {
        text.differences_total.saturating_sub(instrumented as usize)
    };
    let printed = if all { shown.len() } else { shown.iter().filter(unexplained).count() };
    match total.saturating_sub(printed) {
        0 => Ok(()),
        hidden => row(out, "", &format!("and {hidden} more differences (--verbose, --json)")),
    }
}

fn print_difference(out: &mut dyn Write, difference: &DifferenceReport) -> io::Result<()> {
    let place = difference.symbol.as_deref().unwrap_or("unknown symbol");
    let label = match difference.judgement {
        Judgement::Patched => "patched",
        Judgement::Instrumented => "instrumented",
        Judgement::NotJudged => "NOT JUDGED",
        Judgement::Unexplained => "UNEXPLAINED",
    };
    let mechanism = difference.mechanism.map(|mechanism| format!("  {mechanism}"));
    let mechanism = mechanism.unwrap_or_default();
    row(out, label, &format!("{place}  physical {}{mechanism}", difference.phys))?;
    row(out, "  why", &difference.note)?;
    for (label, bytes, asm) in [
        ("  expected", &difference.expected, &difference.expected_asm),
        ("  found", &difference.found, &difference.found_asm),
    ] {
        if !bytes.is_empty() {
            row(out, label, &cut(bytes))?;
        }
        if !asm.is_empty() {
            row(out, "", asm)?;
        }
    }
    Ok(())
}

/// Hexadecimal digits, cut to fit the line.
fn cut(digits: &str) -> String {
    const FITS: usize = 60;
    match digits.get(..FITS) {
        Some(head) if head.len() < digits.len() => format!("{head}…"),
        _ => digits.to_owned(),
    }
}
