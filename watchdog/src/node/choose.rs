//! Finds which of several kernels in one memory runs.
//!
//! A kexec leaves the image of the old kernel behind, and software on a node may plant a whole
//! kernel as a decoy. Only the clocks of the running kernel advance from one read to the next.

use std::time::Duration;

use watchdog_core::locate::{Finding, Lost, living};
use watchdog_core::memory::{Memory, PhysAddr, RangeSet};

/// How long to wait for signs of life if there is only one look.
const LIFE_TIMEOUT: Duration = Duration::from_secs(2);
/// The same if another look follows soon.
const SHORT_LIFE_TIMEOUT: Duration = Duration::from_millis(300);
/// Kernels of one memory that are logged.
const LOGGED: usize = 32;

/// Findings that one sentence describes. Memory may hold a thousand decoys.
const DESCRIBED: usize = 8;

/// The finding of a node that must hold exactly one kernel, and all others in its memory.
///
/// A single finding is returned as it is. Of several, the only one with signs of life is returned,
/// also if it is lost. If none has signs of life, the only one that boots is returned. Otherwise
/// the node is lost.
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

/// Separates findings from notes that no other witness confirms. If there are only such notes, they
/// are the findings.
///
/// A program that reads another kernel's memory, as a watchdog does, leaves copies of that kernel's
/// note in its own memory. Such a copy is no useful sign of a second kernel: an adversary that
/// wipes every other description of a kernel can wipe its note too.
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

/// Finds which findings show signs of life. Another look follows soon.
pub(crate) fn candidates(memory: &dyn Memory, findings: Vec<Finding>) -> Vec<Candidate> {
    let alive = alive(memory, &findings, SHORT_LIFE_TIMEOUT);
    findings.into_iter().zip(alive).collect()
}

/// The finding that replaces a kernel that is gone: one that lives or boots, and whose text is not
/// `taken`. A finding that only looks like a kernel is no successor.
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

/// Divides the findings in a memory that nodes share into nodes and strays.
///
/// If some show signs of life, the others are strays unless they boot. If none does, as in memory
/// at rest, all are nodes.
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

/// The first descriptions and the number of the others, for a sentence about all.
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

    /// Check that a thousand decoys in thousands of ranges give a reason that is short enough to
    /// read. Check that a few decoys are all described.
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
