//! Finds a kernel's text: independent witnesses claim where it is, and must agree.
//!
//! One pass over memory ([`scan`]) collects the signs of each witness: page-table shapes
//! ([`page_tables`]), symbol tables ([`kallsyms`]), crash notes ([`vmcoreinfo`]), the kernel's
//! entry in its own resource tree ([`iomem`]) and, if given, the vendor's image ([`vendor`]). Each
//! witness then makes its own claim, independently of the others. Only [`agreement`] decides.
//!
//! Another kernel wrote everything that is read here. It may lie, and may still be writing. Bytes
//! are therefore copied once, every count and pointer is bounded, and nothing panics.

mod agreement;
mod banner;
mod boot;
mod budget;
mod bytes;
mod claims;
mod counters;
mod direct_map;
mod explain;
mod facts;
pub mod iomem;
pub mod kallsyms;
mod kernel;
pub mod page_tables;
mod pulse;
mod recheck;
mod report;
mod scan;
mod search;
mod stop;
#[cfg(test)]
pub(crate) mod tests;
mod text_end;
mod vendor;
pub mod vmcoreinfo;

pub use budget::Budget;
pub use direct_map::is_ram_of;
pub use kallsyms::Symbols;
pub use kernel::{Displaced, Finding, Kernel, Lost, Text, Witness};
pub use pulse::{Beat, Pulse, living};
pub use recheck::{Recheck, recheck};
pub use report::Report;
pub use search::{Search, locate};
pub use stop::Stop;
pub use vendor::{VendorClaim, VendorSign};
