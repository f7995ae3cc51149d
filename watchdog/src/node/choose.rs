//! Which of several kernels in one memory is the one that runs.
//!
//! A kexec leaves the old kernel's image behind, and whoever has a node may plant a whole kernel
//! as a decoy. What tells the living one apart is that its clocks go on between two looks.

use std::time::Duration;

use watchdog_core::locate::{Finding, Lost, living};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet};

/// How long it is waited for signs of life, where one look must do.
const LIFE_TIMEOUT: Duration = Duration::from_secs(2);
/// The same where another look will follow soon.
const SHORT_LIFE_TIMEOUT: Duration = Duration::from_millis(300);
/// Kernels of one memory that are logged.
const LOGGED: usize = 32;

/// Findings that one sentence describes; memory may hold a thousand that look like kernels.
const DESCRIBED: usize = 8;

/// The finding of a node that must hold exactly one kernel, and all others in its memory.
///
/// One that is alone is believed as it is. Among several it must be the only one that lives; what
/// lives and is lost, or still boots, makes the node so. Where nothing lives nothing is chosen.
pub(super) fn the_one(
    memory: &dyn Memory,
    findings: Vec<Finding>,
    ranges: &RangeSet,
) -> (Finding, Vec<Finding>) {
    let (mut findings, notes) = apart_from_notes(findings);
    match findings.len() {
        0 => {
            let reason = format!(
                "no kernel was found in {}: check the range, and that the node is running",
                ranges.in_brief()
            );
            return (Finding::Lost(Lost::because(reason)), notes);
        }
        1 => return (findings.remove(0), notes),
        _ => {}
    }
    let (finding, mut strays) = the_living_one(memory, findings, ranges);
    strays.extend(notes);
    (finding, strays)
}

/// Findings, and apart from them notes that nothing else bears out, where there is anything else.
///
/// A program that reads another kernel's memory, as a watchdog does, leaves copies of its note in
/// its own. To take them for a sign of a second kernel would gain nothing: who can wipe out all
/// else that describes a kernel can wipe out its note.
fn apart_from_notes(findings: Vec<Finding>) -> (Vec<Finding>, Vec<Finding>) {
    let is_note = |finding: &Finding| {
        let [witness] = finding.witnesses() else { return false };
        witness.name == "vmcoreinfo"
    };
    let (notes, others): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_note);
    if others.is_empty() { (notes, others) } else { (others, notes) }
}

fn the_living_one(
    memory: &dyn Memory,
    mut findings: Vec<Finding>,
    ranges: &RangeSet,
) -> (Finding, Vec<Finding>) {
    let alive = alive(memory, &findings, LIFE_TIMEOUT);
    let boots = |finding: &Finding| matches!(finding, Finding::Booting(_));
    let chosen = match alive.iter().filter(|alive| **alive).count() {
        1 => alive.iter().position(|alive| *alive),
        0 if findings.iter().filter(|finding| boots(finding)).count() == 1 => {
            findings.iter().position(boots)
        }
        _ => None,
    };
    if let Some(chosen) = chosen {
        return (findings.remove(chosen), findings);
    }
    let places = some_of(findings.iter().map(describe));
    let (count, ranges) = (findings.len(), ranges.in_brief());
    let reason = if alive.contains(&true) {
        format!(
            "{count} kernels were found in {ranges}: give each node its own range. Found: {places}"
        )
    } else {
        format!(
            "{count} kernels were found in {ranges}, but none of them shows a sign of life, so it \
             is unknown which one runs. Found: {places}"
        )
    };
    let described = findings.iter().take(DESCRIBED);
    let witnesses = described.flat_map(Finding::witnesses).cloned().collect();
    (Finding::Lost(Lost { witnesses, ..Lost::because(reason) }), Vec::new())
}

/// A finding, and whether it showed a sign of life.
pub(crate) type Candidate = (Finding, bool);

/// Looks which findings live, where another look will follow soon.
pub(crate) fn candidates(memory: &dyn Memory, findings: Vec<Finding>) -> Vec<Candidate> {
    let alive = alive(memory, &findings, SHORT_LIFE_TIMEOUT);
    findings.into_iter().zip(alive).collect()
}

/// What has taken the place of a kernel that is gone, of those that are not `taken`: only what
/// lives, or boots, and nothing that merely looks like a kernel.
pub(crate) fn successor(candidates: &[Candidate], taken: &[PhysAddr]) -> Finding {
    let is_free = |(finding, _): &&Candidate| {
        finding.text_address().is_none_or(|text| !taken.contains(&text))
    };
    let mut free = candidates.iter().filter(is_free).peekable();
    if free.peek().is_none() {
        return Finding::Lost(Lost::because("its memory no longer holds a kernel".to_owned()));
    }
    let free: Vec<&Candidate> = free.collect();
    let lives = |located: bool| {
        let is_it = |(finding, alive): &&&Candidate| {
            *alive && matches!(finding, Finding::Located(_)) == located
        };
        free.iter().find(is_it)
    };
    let boots = || free.iter().find(|(finding, _)| matches!(finding, Finding::Booting(_)));
    if let Some((chosen, _)) = lives(true).or_else(boots).or_else(|| lives(false)) {
        return chosen.clone();
    }
    let others = some_of(free.iter().map(|(finding, _)| describe(finding)));
    let reason = format!("its memory no longer holds a running kernel, only {others}");
    Finding::Lost(Lost::because(reason))
}

/// The findings that are nodes of a memory that several may share, and those that are not.
///
/// Where some live, those that neither live nor boot are not nodes; in memory at rest all are.
pub(super) fn those_alive(
    memory: &dyn Memory,
    findings: Vec<Finding>,
) -> (Vec<Finding>, Vec<Finding>) {
    let (findings, notes) = apart_from_notes(findings);
    let alive =
        if findings.len() < 2 { Vec::new() } else { alive(memory, &findings, LIFE_TIMEOUT) };
    if !alive.contains(&true) {
        return (findings, notes);
    }
    let judged = findings.into_iter().zip(alive);
    let (nodes, strays): (Vec<_>, Vec<_>) =
        judged.partition(|(finding, alive)| *alive || matches!(finding, Finding::Booting(_)));
    let plain = |judged: Vec<(Finding, bool)>| judged.into_iter().map(|(finding, _)| finding);
    (plain(nodes).collect(), plain(strays).chain(notes).collect())
}

fn alive(memory: &dyn Memory, findings: &[Finding], timeout: Duration) -> Vec<bool> {
    if memory.is_at_rest() {
        return vec![false; findings.len()];
    }
    let pulses: Vec<_> = findings.iter().map(Finding::pulse).collect();
    let alive = living(memory, &pulses, timeout);
    for (finding, alive) in findings.iter().zip(&alive).take(LOGGED) {
        let life = if *alive { "it shows signs of life" } else { "it shows no sign of life" };
        log::debug!("{}: {life}", describe(finding));
    }
    alive
}

/// A finding in a few words, for a sentence about several.
#[must_use]
pub fn describe(finding: &Finding) -> String {
    let place = finding.text_address().map_or_else(String::new, |at| format!(" at {at}"));
    match finding {
        Finding::Located(kernel) => {
            let release = watchdog_core::text::printable(kernel.release.as_bytes(), 64);
            format!("Linux {release}{place}")
        }
        Finding::Booting(_) => format!("a starting kernel{place}"),
        Finding::Lost(lost) => format!("parts of a kernel{place} ({})", lost.reason),
    }
}

/// The first descriptions, and how many more there are, for a sentence about all.
pub(crate) fn some_of(descriptions: impl Iterator<Item = String>) -> String {
    let mut descriptions = descriptions;
    let mut shown: Vec<_> = descriptions.by_ref().take(DESCRIBED).collect();
    let rest = descriptions.count();
    if rest > 0 {
        shown.push(format!("and {rest} more"));
    }
    shown.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchdog_core::memory::{PhysRange, ReadError};

    /// Memory in which nothing lives.
    struct Still(RangeSet);

    impl Memory for Still {
        fn ranges(&self) -> &RangeSet {
            &self.0
        }

        fn is_at_rest(&self) -> bool {
            true
        }

        fn read(&self, _: PhysAddr, _: &mut [u8]) -> Result<(), ReadError> {
            unreachable!("nothing is read")
        }
    }

    /// Check that a thousand decoys, in memory of thousands of ranges, make a node lost for a
    /// reason that a person can read, and that a few are all described.
    #[test]
    fn reasons_are_short() {
        let ranges: RangeSet =
            (0..10_000).filter_map(|n| PhysRange::with_size(PhysAddr(n << 13), 4096)).collect();
        let decoys = |count: u64| -> Vec<Finding> {
            let lost = |n| Lost { text: Some(PhysAddr(n)), ..Lost::because("made up".to_owned()) };
            (0..count).map(|n| Finding::Lost(lost(n))).collect()
        };
        let memory = Still(ranges.clone());
        let (finding, _) = the_one(&memory, decoys(1000), &ranges);
        let reason = finding.reason();
        assert!(reason.starts_with("1000 kernels were found"), "{reason}");
        assert!(reason.ends_with("; and 992 more") && reason.len() < 2000, "{reason}");
        let finding = successor(&candidates(&memory, decoys(1000)), &[]);
        assert!(finding.reason().len() < 1000, "{}", finding.reason());
        let finding = successor(&candidates(&memory, decoys(3)), &[PhysAddr(2)]);
        let both = "only parts of a kernel at 0x0 (made up); parts of a kernel at 0x1 (made up)";
        assert!(finding.reason().ends_with(both), "{}", finding.reason());
    }
}
