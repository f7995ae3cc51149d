//! Judging a text: which of its differences the kernel's own tables explain.
//!
//! Every site of a page is judged, also where the bytes are as linked: a kernel that should have
//! rewritten a place and did not was changed as well. What no site covers must equal the reference.

mod agreement;
mod branch;
mod causes;
mod code;
mod expected;
mod mechanism;
mod nops;
mod opinion;
mod page;
mod prepare;
mod rules;
mod site;
mod sites;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod tracing;

pub use expected::Expected;
pub use mechanism::Mechanism;
pub use opinion::Opinion;
pub use page::Wrong;
pub use state::State;
pub use text::TextJudge;
pub use tracing::Cause;
