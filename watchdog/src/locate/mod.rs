//! Where a kernel's text is: independent witnesses, and their agreement.
//!
//! One pass over memory ([`scan`]) collects what each witness goes by: page-table shapes
//! ([`page_tables`]), symbol tables ([`kallsyms`]) and crash notes ([`vmcoreinfo`]). Each witness
//! then makes a claim of its own, without asking another, and [`agreement`] alone decides.
//!
//! Everything read here was written by another kernel, which may lie and may be writing still:
//! bytes are copied once, every count and pointer is bounded, and nothing panics.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::allow_attributes,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod agreement;
mod bytes;
mod kallsyms;
mod kernel;
mod page_tables;
mod recheck;
mod report;
mod scan;
mod symbols;
#[cfg(test)]
mod tests;
mod vmcoreinfo;

pub use kernel::{Finding, Kernel, Lost, Text, Witness};
pub use recheck::{Recheck, recheck};
pub use report::Report;
pub use symbols::Symbols;

use crate::memory::{Memory, RangeSet, ReadError};

/// Finds every kernel in the physical memory `within`, in ascending order of text address.
///
/// `progress` hears of bytes searched and bytes in all.
///
/// # Errors
/// When memory of `within` cannot be read. What the memory holds is never an error: a kernel
/// whose witnesses disagree is a [`Finding::Lost`].
pub fn locate(
    memory: &dyn Memory,
    within: &RangeSet,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Finding>, ReadError> {
    let signs = scan::scan(memory, within, progress)?;
    let mappings = signs.level3.iter().filter_map(|&at| page_tables::claim(memory, at));
    let tables = signs.token_indexes.iter().filter_map(|&at| kallsyms::claim(memory, at));
    let notes = signs.notes.iter().filter_map(|note| vmcoreinfo::claim(note));
    Ok(agreement::decide(mappings.collect(), tables.collect(), notes.collect()))
}
