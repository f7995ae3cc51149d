//! Locates kernels: one pass for signs, one claim from each sign, one decision.

use super::agreement;
use super::claims::Claims;
use super::explain::claims_of;
use super::scan::{Pace, Signs, scan};
use super::{
    Budget, Finding, Lost, Stop, VendorSign, counters, iomem, kallsyms, page_tables, vmcoreinfo,
};
use crate::memory::{Memory, RangeSet, ReadError};

/// What to search for, and how fast.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Vendor's images. If any are given, only a kernel that is one of them is located.
    pub images: Vec<VendorSign>,
    /// Search on one thread, which the `progress` callback may delay; otherwise as fast as
    /// possible.
    pub gentle: bool,
    /// Ends the search when it is asked to.
    pub stop: Stop,
}

/// Finds every kernel in the physical memory `within`, in ascending order of text address.
///
/// `progress` receives the bytes searched so far and the bytes in all. After the search, it is
/// called again for each sign that memory is read for.
///
/// # Errors
/// When memory of `within` cannot be read, or [`Search::stop`] was asked. The content of the memory
/// is never an error. A kernel whose witnesses disagree is a [`Finding::Lost`]. In memory that
/// holds more signs of kernels than can be followed, every kernel is a [`Finding::Lost`].
pub fn locate(
    memory: &dyn Memory,
    within: &RangeSet,
    search: &Search,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Finding>, ReadError> {
    let pace = if search.gentle { Pace::gentle() } else { Pace::fast() };
    let signs = scan(memory, within, &search.images, pace, &search.stop, progress)?;
    signs.log(within);
    let mut budget = Budget::for_memory(within.size());
    let mut kept = Kept::for_memory(within.size());
    let mut followed = || progress(within.size(), within.size());
    let stop = &search.stop;
    let claims =
        claims(memory, &signs, &search.images, &mut budget, &mut kept, stop, &mut followed);
    stop.check()?;
    let mut findings = agreement::decide(memory, claims, within, &search.images, &mut budget);
    if signs.flooded || budget.is_exhausted() || kept.is_exhausted {
        log::debug!(
            "everything is lost: {}",
            if signs.flooded {
                "too many signs of one kind"
            } else if budget.is_exhausted() {
                "the budget is spent"
            } else {
                "too many symbol tables parse"
            }
        );
        return Ok(flooded(findings, within));
    }
    counters::find_missing(memory, &mut findings);
    Ok(findings)
}

/// Bytes of symbol tables that are kept in any case: enough for at least 16 kernels.
const KEPT: u64 = 128 << 20;
/// A larger memory may hold more kernels: one more byte is kept for so many bytes of memory. A
/// table takes some 8 MiB, and no kernel runs in less than 32 times that.
const MEMORY_PER_KEPT: u64 = 32;

/// The bytes of symbol tables that may still be kept. All claims stay in memory until the decision,
/// and a node can make many tables that parse.
struct Kept {
    left: u64,
    is_exhausted: bool,
}

impl Kept {
    /// The limit for the tables in `bytes` of memory.
    const fn for_memory(bytes: u64) -> Self {
        Self { left: KEPT.saturating_add(bytes / MEMORY_PER_KEPT), is_exhausted: false }
    }

    /// Takes `bytes` for a table from the limit; false if they exceed it.
    fn keep(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes as u64);
        self.is_exhausted |= left.is_none();
        self.left = left.unwrap_or_default();
        left.is_some()
    }
}

/// Gets the claim for each sign from its witness. Calls `followed` for each sign that memory is
/// read for: following all of them may take longer than the search.
fn claims(
    memory: &dyn Memory,
    signs: &Signs,
    images: &[VendorSign],
    budget: &mut Budget,
    kept: &mut Kept,
    stop: &Stop,
    followed: &mut dyn FnMut(),
) -> Claims {
    let goes_on = || !stop.is_asked();
    let mappings = signs.level3.iter().take_while(|_| goes_on());
    let mappings = mappings.map(|&at| {
        followed();
        (at, page_tables::examine(memory, at, budget))
    });
    let mappings = claims_of("page-tables", mappings, |claim| Some(claim.text.phys));
    let tables = signs.token_indexes.iter().take_while(|_| goes_on()).map(|&at| {
        followed();
        let table = kallsyms::examine(memory, at, budget);
        let too_many = "more symbol tables parse than are kept";
        (at, table.and_then(|it| kept.keep(it.symbols.size()).then_some(it).ok_or(too_many)))
    });
    let tables = claims_of("kallsyms", tables, |claim| claim.phys);
    let resources = signs.resources.iter().take_while(|_| goes_on());
    let resources = resources.map(|&at| {
        followed();
        (at, iomem::examine(memory, at, budget))
    });
    let resources = claims_of("iomem", resources, |claim| Some(claim.phys));
    let notes = signs.notes.iter().map(|(at, note)| (*at, vmcoreinfo::examine(note)));
    let notes = claims_of("vmcoreinfo", notes, |claim| Some(claim.phys));
    let vendors = signs.vendor_notes.iter().map(|&(image, at)| {
        let claim = images.get(image).and_then(|image| image.claim(at));
        (at, claim.ok_or("it is too low in memory for the image's text"))
    });
    let vendors = claims_of("image", vendors, |claim| Some(claim.phys));
    Claims { mappings, tables, resources, notes, vendors }
}

/// Turns every finding into a loss: among so many signs, the search may have missed the living
/// kernel.
fn flooded(findings: Vec<Finding>, within: &RangeSet) -> Vec<Finding> {
    let reason = format!(
        "{} holds more signs of kernels than can be followed: a kernel may be hidden among decoys",
        within.in_brief()
    );
    if findings.is_empty() {
        return vec![Finding::Lost(Lost::because(reason))];
    }
    let lost = |finding: Finding| {
        Finding::Lost(Lost {
            reason: reason.clone(),
            text: finding.text_address(),
            witnesses: finding.witnesses().to_vec(),
            pulse: finding.pulse(),
            displaced: None,
        })
    };
    findings.into_iter().map(lost).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::tests::made_up::{FIRST, Machine};
    use super::*;
    use crate::memory::{PhysAddr, PhysRange, Reason, Refusal};

    /// Check that a table beyond the limit is dropped, and that the limit then counts as exhausted.
    #[test]
    fn tables_that_are_kept() {
        let machine = Machine::with(FIRST);
        let size = machine.kernel().symbols.size();
        assert!(size > 1500 * 12, "{size} bytes for 1500 symbols");
        let stop = Stop::default();
        let scanned = scan(&machine, machine.ranges(), &[], Pace::gentle(), &stop, &mut |_, _| ());
        let signs = scanned.unwrap();
        for (left, tables) in [(size, 1), (size - 1, 0)] {
            let mut kept = Kept { left: left as u64, is_exhausted: false };
            let mut budget = Budget::for_memory(0);
            let claims = claims(&machine, &signs, &[], &mut budget, &mut kept, &stop, &mut || ());
            assert_eq!(claims.tables.len(), tables);
            assert_eq!(kept.is_exhausted, tables == 0);
        }
    }

    /// Check that progress is reported while signs are followed: a search that a watch waits for
    /// must not look like a hang.
    #[test]
    fn progress_of_following() {
        let machine = Machine::with(FIRST);
        let all = machine.ranges().size();
        let mut searched = 0;
        let mut progress = |done, total| searched += u32::from(done == all && total == all);
        locate(&machine, machine.ranges(), &Search::default(), &mut progress).unwrap();
        // The end of the search, and one sign of each of three kinds.
        assert!(searched >= 4, "{searched}");
    }

    /// A made-up machine that stops the search at its third read, or whose first pages are claimed.
    struct Odd {
        machine: Machine,
        reads: AtomicUsize,
        stop: Option<Stop>,
        claimed: u64,
    }

    impl Memory for Odd {
        fn ranges(&self) -> &RangeSet {
            self.machine.ranges()
        }

        fn read(&self, at: PhysAddr, buffer: &mut [u8]) -> Result<(), ReadError> {
            if self.reads.fetch_add(1, Ordering::Relaxed) == 2 {
                self.stop.iter().for_each(Stop::ask);
            }
            let first = self.ranges().ranges()[0].start().0;
            if at.0 < first + self.claimed {
                let range = PhysRange::with_size(at, 1).unwrap();
                let refusal = Refusal { range, reason: Reason::Claimed("claimed".to_owned()) };
                let (length, source_name) = (buffer.len() as u64, "odd".to_owned());
                return Err(ReadError::Refused {
                    at,
                    length,
                    source_name,
                    refusal: Box::new(refusal),
                });
            }
            self.machine.read(at, buffer)
        }
    }

    /// Check that a search ends soon after it was asked to stop, with an error, and that a search
    /// that is never asked has a result. Check that pages that a driver claimed are skipped.
    #[test]
    fn stopped_and_claimed() {
        let odd = |stop: Option<Stop>, claimed| Odd {
            machine: Machine::with(FIRST),
            reads: AtomicUsize::new(0),
            stop,
            claimed,
        };
        let found = |odd: &Odd, stop: Stop| {
            let search = Search { gentle: true, stop, ..Search::default() };
            locate(odd, odd.ranges(), &search, &mut |_, _| ())
        };
        let stop = Stop::default();
        let memory = odd(Some(stop.clone()), 0);
        let stopped = found(&memory, stop);
        assert!(matches!(stopped, Err(ReadError::Stopped)), "{stopped:?}");
        assert_eq!(memory.reads.load(Ordering::Relaxed), 3);
        let memory = odd(None, 3 << 12);
        let located = found(&memory, Stop::default()).unwrap();
        assert!(matches!(&*located, [Finding::Located(_)]), "{located:?}");
        assert!(memory.reads.load(Ordering::Relaxed) > 256, "the first chunk page by page");
    }
}
