//! Where a kernel's text is: independent witnesses, and their agreement.
//!
//! One pass over memory ([`scan`]) collects what each witness goes by: page-table shapes
//! ([`page_tables`]), symbol tables ([`kallsyms`]), crash notes ([`vmcoreinfo`]), the kernel's
//! entry in its own resource tree ([`iomem`]) and, where it is given, the vendor's image
//! ([`vendor`]). Each witness then makes a claim of its own, without asking another, and
//! [`agreement`] alone decides.
//!
//! Everything read here was written by another kernel, which may lie and may be writing still:
//! bytes are copied once, every count and pointer is bounded, and nothing panics.

mod agreement;
mod budget;
mod bytes;
mod explain;
pub mod iomem;
pub mod kallsyms;
mod kernel;
pub mod page_tables;
mod pulse;
mod recheck;
mod report;
mod scan;
mod search;
#[cfg(test)]
pub(crate) mod tests;
mod vendor;
pub mod vmcoreinfo;

pub use budget::Budget;
pub use kallsyms::Symbols;
pub use kernel::{Finding, Kernel, Lost, Text, Witness};
pub use pulse::{Beat, Pulse, living};
pub use recheck::{Recheck, recheck};
pub use report::Report;
pub use search::{Search, locate};
pub use vendor::{VendorClaim, VendorSign};
