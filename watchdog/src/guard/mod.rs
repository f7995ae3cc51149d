//! The guard: eBPF programs that deny node 0's own writes to other nodes' memory.
//!
//! [`Guard::load`] checks what the kernel offers, loads and attaches; [`Guard::prove`] tries each
//! forbidden thing on a decoy. The guard is armed only when every path was seen to be denied, and
//! the proof is repeated for as long as it runs.

mod attempt;
mod decoy;
mod load;
mod paths;
mod preflight;
mod proof;

pub use attempt::WriteAttempt;
pub use decoy::DecoyError;
pub use load::{Guard, GuardConfig, GuardError, GuardEvent, OpenPolicy};
pub use paths::WritePath;
pub use preflight::PreflightError;
pub use proof::{Coverage, Outcome, PathProof};
