//! The whole of locating: one pass for signs, a claim from each, one decision.

use super::agreement::{self, Claims};
use super::scan::{Pace, Signs, scan};
use super::{Budget, Finding, Lost, VendorSign, iomem, kallsyms, page_tables, vmcoreinfo};
use crate::memory::{Memory, RangeSet, ReadError};

/// What is looked for, and how fast.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Vendor's images: with any given, only a kernel that is one of them is located.
    pub images: Vec<VendorSign>,
    /// On one thread, which the `progress` callback may hold up; else as fast as it goes.
    pub gentle: bool,
}

/// Finds every kernel in the physical memory `within`, in ascending order of text address.
///
/// `progress` hears of bytes searched and bytes in all.
///
/// # Errors
/// When memory of `within` cannot be read. What the memory holds is never an error: a kernel
/// whose witnesses disagree is a [`Finding::Lost`], and so is every kernel of a memory that holds
/// more signs of kernels than can be followed.
pub fn locate(
    memory: &dyn Memory,
    within: &RangeSet,
    search: &Search,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Finding>, ReadError> {
    let pace = if search.gentle { Pace::gentle() } else { Pace::fast() };
    let signs = scan(memory, within, &search.images, pace, progress)?;
    let mut budget = Budget::for_memory(within.size());
    let claims = claims(memory, &signs, &search.images, &mut budget);
    let findings = agreement::decide(claims, within, &search.images);
    if signs.flooded || budget.is_exhausted() {
        return Ok(flooded(findings, within));
    }
    Ok(findings)
}

/// Asks every witness about every sign of its kind.
fn claims(
    memory: &dyn Memory,
    signs: &Signs,
    images: &[VendorSign],
    budget: &mut Budget,
) -> Claims {
    let vendors = signs.vendor_notes.iter();
    Claims {
        mappings: signs
            .level3
            .iter()
            .filter_map(|&at| page_tables::claim(memory, at, budget))
            .collect(),
        tables: signs
            .token_indexes
            .iter()
            .filter_map(|&at| kallsyms::claim(memory, at, budget))
            .collect(),
        resources: signs
            .resources
            .iter()
            .filter_map(|&at| iomem::claim(memory, at, budget))
            .collect(),
        notes: signs.notes.iter().filter_map(|(_, note)| vmcoreinfo::claim(note)).collect(),
        vendors: vendors.filter_map(|&(image, at)| images.get(image)?.claim(at)).collect(),
    }
}

/// Turns every finding into a loss: among so many signs the living kernel may not have been seen.
fn flooded(findings: Vec<Finding>, within: &RangeSet) -> Vec<Finding> {
    let reason = format!(
        "{} holds more that looks like parts of kernels than can be followed: \
         somebody may be hiding one among decoys",
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
        })
    };
    findings.into_iter().map(lost).collect()
}
