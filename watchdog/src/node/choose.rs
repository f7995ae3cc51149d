//! Finds which of several kernels in one memory runs.
//!
//! A kexec leaves the image of the old kernel behind, and software on a node may plant a whole
//! kernel as a decoy. Only the clocks of the running kernel advance from one read to the next.
//!
//! A virtual machine's kernel in the node's memory runs as well. It is not a rival of a located
//! kernel if it states another place than where it is ([`Finding::is_displaced`]): a kernel that
//! runs on the machine itself is where it states.

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
/// also if it is lost. If none has signs of life, the only one that boots is returned, else the
/// only located one that nothing rules out. Otherwise the node is lost.
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
/// note in its own memory. Such a copy is not a useful sign of a second kernel: an adversary that
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
    if let Some(chosen) = choice(&findings, &alive, memory.is_at_rest()) {
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

/// The number of the finding that the node runs, if the signs of life tell it.
fn choice(findings: &[Finding], alive: &[bool], is_at_rest: bool) -> Option<usize> {
    let only = |is_it: &dyn Fn(&Finding, bool) -> bool| {
        let numbered = findings.iter().zip(alive).enumerate();
        let mut those = numbered.filter(|(_, (finding, alive))| is_it(finding, **alive));
        let (chosen, _) = those.next()?;
        those.next().is_none().then_some(chosen)
    };
    if alive.contains(&true) {
        let has_located = findings.iter().zip(alive).any(|(it, alive)| *alive && is_located(it));
        return only(&|finding, alive| alive && !(has_located && finding.is_displaced()));
    }
    // A kernel without a known clock is not ruled out by standing still, and neither is any kernel
    // in memory at rest.
    let is_possible = |finding: &Finding, _| {
        !finding.is_displaced() && (is_at_rest || !finding.pulse().is_known())
    };
    only(&|finding, _| matches!(finding, Finding::Booting(_)))
        .or_else(|| only(&is_possible).filter(|n| findings.get(*n).is_some_and(is_located)))
}

fn is_located(finding: &Finding) -> bool {
    matches!(finding, Finding::Located(_))
}

/// A finding, and whether it showed a sign of life.
pub(crate) type Candidate = (Finding, bool);

/// Finds which findings show signs of life. Another look follows soon.
pub(crate) fn candidates(memory: &dyn Memory, findings: Vec<Finding>) -> Vec<Candidate> {
    let alive = alive(memory, &findings, SHORT_LIFE_TIMEOUT);
    findings.into_iter().zip(alive).collect()
}

/// The finding that replaces a kernel that is gone: one that lives or boots, and whose text is not
/// `taken`. A finding that only looks like a kernel is not a successor, nor is a virtual machine's
/// kernel. A located kernel without a known clock is one if there is no other.
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
            *alive && is_located(finding) == located && !finding.is_displaced()
        };
        free.iter().find(is_it)
    };
    let boots = || free.iter().find(|(finding, _)| matches!(finding, Finding::Booting(_)));
    let unknown = || {
        let is_it = |(finding, _): &&&Candidate| is_located(finding) && !finding.pulse().is_known();
        free.iter().find(is_it).filter(|_| free.iter().filter(is_it).count() == 1)
    };
    let chosen = lives(true).or_else(boots).or_else(|| lives(false)).or_else(unknown);
    if let Some((chosen, _)) = chosen {
        return chosen.clone();
    }
    let others = some_of(free.iter().map(|(finding, _)| describe(finding)));
    let reason = format!("its memory no longer holds a running kernel, only {others}");
    Finding::Lost(Lost::because(reason))
}

/// Divides the findings in a memory that nodes share into nodes and strays.
///
/// If some show signs of life, the others are strays unless they boot, or are located and have no
/// known clock. If none does, as in memory at rest, all are nodes. Virtual machines' kernels are
/// strays if another kernel is located.
pub(super) fn those_alive(
    memory: &dyn Memory,
    findings: Vec<Finding>,
) -> (Vec<Finding>, Vec<Finding>) {
    let (findings, notes) = apart_from_notes(findings);
    let alive =
        if findings.len() < 2 { Vec::new() } else { alive(memory, &findings, LIFE_TIMEOUT) };
    let (has_located, any_alive) = (findings.iter().any(is_located), alive.contains(&true));
    let is_node = |(finding, alive): &(Finding, bool)| {
        let is_unknown = is_located(finding) && !finding.pulse().is_known();
        let is_possible = !any_alive || *alive || is_unknown;
        (is_possible || matches!(finding, Finding::Booting(_)))
            && !(has_located && finding.is_displaced())
    };
    let alive = alive.into_iter().chain(std::iter::repeat(false));
    let (nodes, strays): (Vec<_>, Vec<_>) = findings.into_iter().zip(alive).partition(is_node);
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

/// A finding that the node does not run, in a few words.
#[must_use]
pub fn describe_stray(stray: &Finding) -> String {
    let described = describe(stray);
    if stray.is_displaced() {
        described
    } else if stray.pulse().is_known() {
        format!("{described}: shows no sign of life")
    } else {
        format!("{described}: no clock of it is known, so it is unknown whether it runs")
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
    use watchdog_core::locate::Displaced;
    use watchdog_core::memory::{PhysRange, ReadError};

    /// Check that a virtual machine's kernel in the memory of a node is neither chosen nor replaces
    /// another, whether it lives or not, and that other lost kernels are rivals as before.
    #[test]
    fn virtual_machines_are_no_rivals() {
        let lost = |at: u64| Lost { text: Some(PhysAddr(at)), ..Lost::because("made up".into()) };
        let displaced = Displaced { claimed: PhysAddr(1), found: PhysAddr(2) };
        let guest = || Finding::Lost(Lost { displaced: Some(displaced), ..lost(2) });
        let (parts, boots) = (|| Finding::Lost(lost(3)), || Finding::Booting(lost(4)));
        assert_eq!(choice(&[guest(), boots()], &[false, false], false), Some(1));
        assert_eq!(choice(&[guest(), parts()], &[true, true], false), None);
        assert_eq!(choice(&[guest(), parts()], &[false, true], false), Some(1));
        // Alone, it is what the node holds.
        assert_eq!(choice(&[guest(), parts()], &[true, false], false), Some(0));
        assert_eq!(choice(&[parts(), parts()], &[false, false], true), None);
        let successor = successor(&[(guest(), true), (parts(), true)], &[]);
        assert_eq!(successor.text_address(), Some(PhysAddr(3)));
    }

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
