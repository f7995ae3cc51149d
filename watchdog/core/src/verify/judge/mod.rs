//! Judges a text: finds the differences that the kernel's own tables explain.
//!
//! Every site of a page is judged, even where the bytes are as linked. A site that the kernel
//! should have rewritten and did not was also changed. Bytes outside all sites must equal the
//! reference.

mod agreement;
#[cfg(test)]
mod beyond_tests;
mod bodies;
mod branch;
#[cfg(test)]
mod branch_tests;
mod causes;
mod cfi;
mod cfi_places;
#[cfg(test)]
mod cfi_tests;
mod code;
mod counting;
mod counting_places;
mod expected;
mod mechanism;
mod nops;
mod old_nops;
mod opinion;
mod page;
mod prepare;
mod rules;
mod site;
mod sites;
mod starts;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod thunks;
mod tracing;

pub use expected::Expected;
pub use mechanism::Mechanism;
pub use opinion::Opinion;
pub use page::Wrong;
pub use state::State;
pub use text::TextJudge;
pub use tracing::{Cause, ListLayouts};
